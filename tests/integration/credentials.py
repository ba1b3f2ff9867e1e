"""Who the API server is to its clients, and who its clients are to it: files for its flags, and kubeconfigs. No server needed."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ADMIN = "admin"
USERS = {ADMIN: ("system:masters",), "operator": (), "alice": (), "bob": ()}
"""Users by name, with their groups. All but the admin may do nothing until a test gives them a role."""


@dataclass(frozen=True)
class Credentials:
    """Files in one folder."""

    folder: Path
    tokens: dict[str, str] = field(default_factory=lambda: {user: secrets.token_hex(16) for user in USERS})

    def __post_init__(self) -> None:
        key, certificate = _serving_pair()
        self.private_key.write_bytes(key)
        self.certificate.write_bytes(certificate)
        self.account_key.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
        lines = [f'{token},{user},{user},"{",".join(USERS[user])}"\n' for user, token in self.tokens.items()]
        self.token_file.write_text("".join(lines))

    @property
    def certificate(self) -> Path:
        """The API server's certificate; it is its own authority."""
        return self.folder / "serving.crt"

    @property
    def private_key(self) -> Path:
        """The API server's private key."""
        return self.folder / "serving.key"

    @property
    def account_key(self) -> Path:
        """What tokens of service accounts are signed with."""
        return self.folder / "accounts.key"

    @property
    def token_file(self) -> Path:
        """The users, as --token-auth-file wants them."""
        return self.folder / "tokens.csv"

    def kubeconfig(self, name: str, token: str, server: str) -> Path:
        """Write a kubeconfig for `server` with this token."""
        path = self.folder / f"{name.replace(':', '-')}-{server.rpartition(':')[2]}.kubeconfig"
        cluster = {"server": server} | ({"certificate-authority": str(self.certificate)} if server.startswith("https:") else {})
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
        }
        path.write_text(json.dumps(body))
        return path


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _serving_pair() -> tuple[bytes, bytes]:
    """A private key, and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver of the tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return _pem(key), certificate.public_bytes(Encoding.PEM)
