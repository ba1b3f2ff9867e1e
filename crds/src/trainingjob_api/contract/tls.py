"""TLS between the product's programs: each job's rendezvous has one certificate, and its peers trust that one alone. Standard library.

No authority and no host name is involved: the certificate itself is pinned, and addresses may change.
"""

from __future__ import annotations

import asyncio.sslproto
import os
import ssl
import tempfile

BUFFER_BYTES = 16 << 10
"""The most that one TLS record holds."""


def small_buffers() -> None:
    """Have asyncio read TLS connections that are opened from now on by the record: of itself it sets 256 KiB aside for each of them.

    For the whole process: an operator has thousands of streams, a rendezvous hundreds of agents, and little goes over each.
    """
    asyncio.sslproto.SSLProtocol.max_size = BUFFER_BYTES


def client_context(certificate_pem: str) -> ssl.SSLContext:
    """A client's context that trusts only `certificate_pem`, under any host name.

    Raises:
        ValueError: it is no certificate in PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # The pinned certificate is trusted as it is, whether or not it may sign others.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate_pem)
    except ssl.SSLError as error:
        raise ValueError("the rendezvous' certificate is not a certificate in PEM") from error
    return context


def server_context(certificate_pem: str, private_key_pem: str) -> ssl.SSLContext:
    """A server's context that presents `certificate_pem`.

    Raises:
        ValueError: certificate and private key are not PEM, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    text = f"{private_key_pem.strip()}\n{certificate_pem.strip()}\n".encode()
    try:
        _load(context, text)
    except ssl.SSLError as error:
        raise ValueError("the rendezvous' certificate and private key are not a pair in PEM") from error
    return context


def _load(context: ssl.SSLContext, text: bytes) -> None:
    """Load key and certificate, which `ssl` only takes from files: one in memory, or one that is gone at once."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("rendezvous", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        return
    with tempfile.NamedTemporaryFile() as file:  # mode 0600, deleted at the end of the block
        file.write(text)
        file.flush()
        context.load_cert_chain(file.name)
