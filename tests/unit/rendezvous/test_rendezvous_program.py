"""`python -m trainingjob_rendezvous`, as the operator starts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping

import aiohttp
import pytest

from certificates import make_certificate
from trainingjob_api.contract.messages import Hello
from trainingjob_api.contract.runtime import CONTRACT_VERSION, ExitCode, RendezvousEnvironment
from trainingjob_api.contract.tls import client_context

CERTIFICATE, PRIVATE_KEY = make_certificate()
ENVIRONMENT = RendezvousEnvironment(
    job="default/digits",
    job_uid="uid",
    epoch=1,
    intent='{"epoch": 1, "attempt": 1}',
    bind="127.0.0.1",
    port=0,
    certificate=CERTIFICATE,
    private_key=PRIVATE_KEY,
    worker_token="worker-secret",
    operator_token="operator-secret",
)


async def launch(variables: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trainingjob_rendezvous",
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
    )


async def port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    found = re.search(r"listens on 127\.0\.0\.1:(\d+)", line)
    assert found is not None, line
    return int(found.group(1))


async def test_it_serves_until_sigterm_and_logs_no_secret() -> None:
    process = await launch(ENVIRONMENT.to_env())
    async with asyncio.timeout(60):
        port = await port_of(process)
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer worker-secret"}
            url = f"https://127.0.0.1:{port}/v1/agent"
            async with session.ws_connect(url, headers=headers, ssl=client_context(CERTIFICATE)) as socket:
                hello = Hello(contract=CONTRACT_VERSION, build="", worker=0, incarnation=0, address="a")
                await socket.send_str(hello.model_dump_json())
                assert '"type":"orders"' in await socket.receive_str()
                process.send_signal(signal.SIGTERM)
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        _, log = await process.communicate()
    assert process.returncode == ExitCode.DONE
    assert b"worker 0.0 connected" in log
    assert not [secret for secret in (b"secret", b"PRIVATE") if secret in log]


async def test_it_ends_with_fenced_if_a_higher_epoch_is_known() -> None:
    process = await launch(ENVIRONMENT.to_env())
    async with asyncio.timeout(60):
        port = await port_of(process)
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": "Bearer worker-secret"}
            url = f"https://127.0.0.1:{port}/v1/agent"
            async with session.ws_connect(url, headers=headers, ssl=client_context(CERTIFICATE)) as socket:
                hello = Hello(contract=CONTRACT_VERSION, build="", worker=0, incarnation=0, address="a", epoch=2)
                await socket.send_str(hello.model_dump_json())
                await process.communicate()
    assert process.returncode == ExitCode.FENCED


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRAININGJOB_EPOCH", "first"), ("TRAININGJOB_INTENT", "{}"), ("TRAININGJOB_PRIVATE_KEY", "none")],
    ids=["epoch", "intent", "key"],
)
async def test_a_wrong_variable_is_named_without_a_traceback(name: str, value: str) -> None:
    process = await launch({**ENVIRONMENT.to_env(), name: value})
    async with asyncio.timeout(60):
        _, log = await process.communicate()
    assert process.returncode == ExitCode.USER_ERROR
    assert name.removeprefix("TRAININGJOB_").replace("_", " ").lower() in log.decode().lower()
    assert not [word for word in (b"Traceback", b"secret", b"PRIVATE") if word in log]
