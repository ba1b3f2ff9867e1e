"""Who a job's rendezvous is, and who may talk to it: keys, certificate and tokens of one job. Pure: derived, never stored.

Everything is an HMAC of the operator's key over the job's uid and a purpose, so a restarted operator, which may not read
the job's Secret, knows the same tokens again. It must not log or hand out anything but the certificate.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

CERTIFICATE_NAME = "rendezvous.trainingjob"
"""The name in every certificate. Clients pin the certificate itself; the name proves nothing."""
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2120, 1, 1, tzinfo=UTC)
_KEY_ID_LENGTH = 8


@dataclass(frozen=True)
class Identity:
    """The keys of one job's rendezvous. `repr` shows no secret."""

    key_id: str
    """The operator's key that all of it is derived from."""
    certificate_pem: str
    """Self-signed; the only one that agents and the operator trust."""
    private_key_pem: str = field(repr=False)
    worker_token: str = field(repr=False)
    """What agents present."""
    operator_token: str = field(repr=False)
    """What the operator presents."""


def key_id(operator_key: bytes) -> str:
    """Names a key without telling anything of it: tokens carry it, so that an older key's tokens can be told."""
    return hashlib.sha256(b"trainingjob key id:" + operator_key).hexdigest()[:_KEY_ID_LENGTH]


def choose(keys: Sequence[bytes], wanted: str) -> bytes:
    """The key whose id is `wanted`, of `keys`, newest first. The newest, if it is not among them: of a new job, or a lost key."""
    return next((key for key in keys if key_id(key) == wanted), keys[0])


@lru_cache(maxsize=1024)
def derive(operator_key: bytes, job_uid: str) -> Identity:
    """The identity of the job `job_uid` under `operator_key`: equal arguments give equal bytes."""
    key = Ed25519PrivateKey.from_private_bytes(_derived(operator_key, job_uid, "rendezvous-key"))
    return Identity(
        key_id=key_id(operator_key),
        certificate_pem=_certificate(key, job_uid),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        worker_token=_token(operator_key, job_uid, "worker"),
        operator_token=_token(operator_key, job_uid, "operator"),
    )


def _derived(operator_key: bytes, job_uid: str, purpose: str) -> bytes:
    return hmac.new(operator_key, f"trainingjob/v1/{purpose}/{job_uid}".encode(), hashlib.sha256).digest()


def _token(operator_key: bytes, job_uid: str, role: str) -> str:
    return f"{key_id(operator_key)}.{role}.{_derived(operator_key, job_uid, f'{role}-token').hex()}"


def _certificate(key: Ed25519PrivateKey, job_uid: str) -> str:
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CERTIFICATE_NAME)])
    serial = int.from_bytes(hashlib.sha256(f"trainingjob serial:{job_uid}".encode()).digest()[:16], "big") | 1
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(CERTIFICATE_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, None)  # Ed25519 signs without a nonce: the same certificate every time
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
