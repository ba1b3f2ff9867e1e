"""A job's keys and tokens are derived, distinct, and good for TLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from trainingjob_api.contract.tls import client_context, server_context
from trainingjob_operator.controllers.training_job.identity import choose, derive, key_id

KEY = b"0123456789abcdef0123456789abcdef"


def test_the_same_key_and_uid_give_the_same_bytes() -> None:
    derive.cache_clear()
    first = derive(KEY, "uid-1")
    derive.cache_clear()
    assert derive(KEY, "uid-1") == first


@pytest.mark.parametrize(("key", "uid"), [(KEY, "uid-2"), (b"another key", "uid-1")], ids=["other job", "other key"])
def test_another_job_or_key_shares_nothing(key: bytes, uid: str) -> None:
    mine, other = derive(KEY, "uid-1"), derive(key, uid)
    assert mine.worker_token != other.worker_token
    assert mine.operator_token != other.operator_token
    assert mine.private_key_pem != other.private_key_pem
    assert mine.certificate_pem != other.certificate_pem


def test_roles_have_tokens_of_their_own_that_name_the_key() -> None:
    identity = derive(KEY, "uid-1")
    assert identity.worker_token != identity.operator_token
    assert identity.worker_token.split(".")[0] == key_id(KEY)


def test_a_key_is_chosen_by_its_id_and_else_the_newest() -> None:
    keys = (b"newest", KEY, b"oldest")
    assert [choose(keys, key_id(key)) for key in keys] == list(keys)
    assert choose(keys, "") == choose(keys, "unknown") == b"newest"
    assert derive(KEY, "uid-1").key_id == key_id(KEY)


def test_no_secret_is_in_the_repr() -> None:
    identity = derive(KEY, "uid-1")
    text = repr(identity)
    assert not any(secret in text for secret in (identity.private_key_pem, identity.worker_token, identity.operator_token))


async def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2], ssl=client)
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_the_pinned_certificate_is_trusted() -> None:
    identity = derive(KEY, "uid-1")
    server = server_context(identity.certificate_pem, identity.private_key_pem)
    assert await _shake_hands(server, client_context(identity.certificate_pem)) == b"hello"


async def test_the_certificate_of_another_job_is_not_trusted() -> None:
    identity, other = derive(KEY, "uid-1"), derive(KEY, "uid-2")
    server = server_context(other.certificate_pem, other.private_key_pem)
    with pytest.raises(ssl.SSLError):
        await _shake_hands(server, client_context(identity.certificate_pem))
