"""What a TLS connection between the product's programs costs."""

from __future__ import annotations

import asyncio
import tracemalloc
from asyncio.sslproto import SSLProtocol

import pytest

from certificates import make_certificate
from trainingjob_api.contract.tls import BUFFER_BYTES, client_context, server_context, small_buffers

CONNECTIONS = 8
LONG = bytes(range(256)) * 1024
"""256 KiB: many records."""


async def _one_end() -> float:
    """Bytes that Python holds for one end of a connection over which something long has come."""
    certificate, private_key = make_certificate()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(LONG)))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context(certificate, private_key))
    port, context = server.sockets[0].getsockname()[1], client_context(certificate)
    writers = []
    tracemalloc.start()
    try:
        for _ in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(LONG)
            assert await reader.readexactly(len(LONG)) == LONG
            writers.append(writer)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        server.close()
        await server.wait_closed()
    return held / (2 * CONNECTIONS)


async def test_a_thousand_streams_fit_into_memory(monkeypatch: pytest.MonkeyPatch):
    """Of a thousand, 250 MiB were asyncio's buffers. What comes over a connection comes whole all the same."""
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)  # put back after the test
    before = await _one_end()
    small_buffers()
    after = await _one_end()
    assert before > 256 << 10
    assert after < BUFFER_BYTES + (64 << 10)
