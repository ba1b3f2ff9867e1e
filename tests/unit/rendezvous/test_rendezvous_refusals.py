"""Who is refused by a rendezvous, and what: each tried over real TLS. A refusal is logged once, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import each_spoiled, json_values, spoiled
from trainingjob_api.contract.intent import MAX_REPORT_BYTES, Intent
from trainingjob_api.contract.messages import (
    MAX_MESSAGE_BYTES,
    Beat,
    Failure,
    FailureCause,
    Generation,
    GenerationId,
    Hello,
    LogPosition,
    MemberId,
    MemberReport,
    Orders,
    Phase,
    Progress,
    Saved,
    SaveId,
    Seat,
    Shard,
    Source,
    Stage,
    State,
    StoreRequest,
)
from trainingjob_api.contract.tls import client_context
from trainingjob_operator.controllers.training_job.identity import derive
from trainingjob_operator.controllers.training_job.streams.stream import parse_report
from trainingjob_rendezvous.connection import MalformedError
from trainingjob_rendezvous.quorum.members import MOST_PROCESSES
from trainingjob_rendezvous.rendezvous import Rendezvous
from trainingjob_rendezvous.report import encode
from trainingjob_rendezvous.server import MOST_WAITING_BYTES, _agent_message

Make = Callable[..., Awaitable[Any]]
MINE, OTHERS = derive(b"the operator's key", "uid-1"), derive(b"the operator's key", "uid-2")
TOKENS = {
    "none": None,
    "empty": "",
    "wrong": "wrong",
    "another job's": OTHERS.worker_token,
    "of another role": MINE.operator_token,
    "of an older key": derive(b"the older key", "uid-1").worker_token,
    "cut short": MINE.worker_token[:-1],
    "longer": MINE.worker_token + "0",
}


@pytest.fixture
async def site(make_site: Make, with_intent: Any) -> Any:
    return await make_site(
        with_intent(2),
        certificate=MINE.certificate_pem,
        private_key=MINE.private_key_pem,
        worker_token=MINE.worker_token,
        operator_token=MINE.operator_token,
    )


async def live(agent: Any) -> None:
    """Be heard, so as not to count as lost."""
    while not agent.socket.closed:
        await agent.say(Beat())
        await asyncio.sleep(0.05)


async def knock(site: Any, path: str, token: str | None, certificate: str = MINE.certificate_pem) -> aiohttp.ClientWebSocketResponse:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    found: aiohttp.ClientWebSocketResponse = await site.session.ws_connect(site.url(path), headers=headers, ssl=client_context(certificate))
    return found


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
async def test_an_agents_door_opens_to_this_jobs_worker_token_alone(site: Any, token: str | None) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await knock(site, "/v1/agent", token)
    assert refused.value.status == 401
    await (await knock(site, "/v1/agent", MINE.worker_token)).close()


@pytest.mark.parametrize(
    "token", [MINE.worker_token, OTHERS.operator_token, "", None], ids=["a worker's", "another job's", "empty", "none"]
)
async def test_the_operators_door_opens_to_this_jobs_operator_token_alone(site: Any, token: str | None) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await knock(site, "/v1/operator", token)
    assert refused.value.status == 401
    await (await knock(site, "/v1/operator", MINE.operator_token)).close()


async def test_a_peer_trusts_no_other_jobs_rendezvous(site: Any) -> None:
    for path, token in (("/v1/agent", MINE.worker_token), ("/v1/operator", MINE.operator_token)):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await knock(site, path, token, certificate=OTHERS.certificate_pem)


async def test_who_tries_a_wrong_token_again_and_again_is_logged_once(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trainingjob.rendezvous"):
        for _ in range(5):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await knock(site, "/v1/agent", OTHERS.worker_token)
    assert [record.getMessage() for record in caplog.records] == ["127.0.0.1 is refused as worker: wrong token"]
    assert OTHERS.worker_token not in caplog.text


NONSENSE = {
    "no JSON": "{",
    "no message": '{"type": "nothing"}',
    "nested": '{"type": "beat", "x": ' + "[" * 400_000 + "]" * 400_000 + "}",
    "a number without end": '{"type": "beat", "x": ' + "9" * 1000 + "}",
    "a number of 400 digits": '{"type": "progress", "member": [0, 0, 0, 0], "step": 1' + "0" * 400 + "}",
    "no number": '{"type": "progress", "member": [0, 0, 0, 0], "step": 1, "loss": NaN}',
    "not finite": '{"type": "progress", "member": [0, 0, 0, 0], "step": 1, "loss": 1e999}',
    "an intent": '{"type": "intent", "epoch": 1, "attempt": 1}',
    "half a character": '{"type": "log", "seq": 1, "exported": "\\ud800"}',
    "a second hello": Hello(contract=1, build="b", worker=0, incarnation=0, address="a").model_dump_json(),
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE.keys())
async def test_an_agent_that_talks_nonsense_is_cut_and_no_other(
    make_site: Make, with_intent: Any, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    site = await make_site(with_intent(2), heartbeat_timeout_seconds=30.0)
    good = await site.agent(1)
    await good.greet()
    await good.until(lambda message: isinstance(message, Orders))
    for _ in range(2):
        bad = await site.agent(0)
        await bad.greet()
        await bad.until(lambda message: isinstance(message, Orders))
        await bad.socket.send_str(text)
        assert await bad.closed() == 1008
    assert not good.socket.closed
    assert set(site.server.rendezvous.members.agents) == {(1, 0)}
    assert len([record for record in caplog.records if "is cut" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    "text",
    ["{", '{"type": "report"}', "[" * 100_000, "x" * (MAX_MESSAGE_BYTES + 1)],
    ids=["no JSON", "a report", "nested", "long"],
)
async def test_an_operator_that_talks_nonsense_is_cut_and_the_job_goes_on(make_site: Make, with_intent: Any, text: str) -> None:
    site = await make_site(with_intent(1))
    before = site.server.rendezvous.intent
    operator = await site.operator()
    await operator.socket.send_str(text)
    assert await operator.closed() in (1006, 1008, 1009)
    assert site.server.rendezvous.intent == before
    assert (await (await site.operator()).until(lambda report: True)).epoch == 1


async def test_an_older_attempt_and_another_epoch_are_no_intent(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1, attempt=5, epoch=3))
    for changes in ({"attempt": 4, "epoch": 3}, {"attempt": 5, "epoch": 2}):
        operator = await site.operator()
        await operator.say(with_intent(1, **changes))
        assert await operator.closed() == 1008
    assert (site.server.rendezvous.intent.attempt, site.server.rendezvous.stood_down) == (5, None)


async def test_a_pod_that_the_intent_does_not_list_gets_no_rank_and_is_sent_away(
    make_site: Make, with_intent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainingjob_rendezvous.quorum.admission.UNLISTED_SECONDS", 0.2)
    site = await make_site(with_intent(1))
    operator = await site.operator()
    await operator.say(with_intent(1))
    stranger = await site.agent(7)
    await stranger.greet()
    await stranger.report(Phase.IDLE)
    living = asyncio.create_task(live(stranger))
    refusal = await stranger.refusal()
    living.cancel()
    assert refusal.reason == "worker 7.0 is not wanted"
    assert await stranger.closed() == 1008
    assert not any(isinstance(message, Orders) and message.generation is not None for message in stranger.heard)


async def test_nobody_speaks_for_another_agents_processes_or_for_processes_without_end(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(2), heartbeat_timeout_seconds=30.0)
    agent = await site.agent(0)
    await agent.greet()
    for member in [MemberId(1, 0, 0, 0), *(MemberId(0, 0, process, 0) for process in range(-3, 3 * MOST_PROCESSES))]:
        await agent.say(MemberReport(member=member, phase=Phase.IDLE))
    await agent.say(LogPosition(seq=7))
    async with asyncio.timeout(10):
        while site.server.rendezvous.history.log is None:
            await asyncio.sleep(0)
    assert {member.id for member in site.server.rendezvous.members.snapshot()} == {
        MemberId(0, 0, number, 0) for number in range(MOST_PROCESSES)
    }


async def test_an_agent_cannot_have_the_rendezvous_keep_requests_without_end(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    agent = await site.agent(0)
    await agent.greet()
    await agent.report(Phase.IDLE)
    living = asyncio.create_task(live(agent))
    generation = (await agent.until(lambda message: isinstance(message, Orders) and message.generation is not None)).generation
    living.cancel()
    size = MAX_MESSAGE_BYTES // 2
    for number in range(MOST_WAITING_BYTES // size + 1):
        key = str(number).ljust(size, "x")
        with suppress(ConnectionError):  # cut already
            await agent.say(StoreRequest(id=number, operation="wait", prefix=generation.id.label(), keys=(key,)))
    assert await agent.closed() in (1006, 1008)
    assert agent.socket.closed


# --- whatever they say -------------------------------------------------------------------

ME = MemberId(0, 0, 0, 0)
ROUND = Generation(
    id=GenerationId(1, 1, 3),
    seats=(Seat(member=ME, slot=0, address="a"),),
    source=Source(kind="Peer", state=State(attempt=1, step=4, digest="d")),
)
SAID = [
    Hello(
        contract=1, build="b", worker=0, incarnation=0, address="a", members=(MemberReport(member=MemberId(0, 0, 0, 0), phase=Phase.IDLE),)
    ),
    MemberReport(member=MemberId(0, 0, 0, 0), phase=Phase.IDLE, state=State(attempt=1, step=4, digest="d")),
    MemberReport(
        member=MemberId(0, 0, 0, 0), phase=Phase.GONE, failure=Failure(member=MemberId(0, 0, 0, 0), cause=FailureCause.CRASH, message="x")
    ),
    Progress(member=MemberId(0, 0, 0, 0), step=3, total_steps=9, loss=0.5, metrics={"accuracy": 0.5}),
    Hello(
        contract=1,
        build="b",
        worker=0,
        incarnation=0,
        address="a",
        epoch=1,
        generation=ROUND.id,
        orders=Orders(epoch=1, generation=ROUND, stage=Stage.RUNNING),
        members=(MemberReport(member=ME, phase=Phase.STEPPING, generation=ROUND.id),),
    ),
    Saved(member=ME, save=SaveId(generation=ROUND.id, step=4), shard=Shard(rank=0, name="0", bytes=1, blake3="0" * 64)),
    LogPosition(seq=3, attempt=1, epoch=1, checkpoint=2, checkpoints=(1, 2), exported="s3://x", result={"accuracy": 1.0}),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.one_of([spoiled(json.loads(message.model_dump_json())) for message in SAID] + [json_values()]), max_size=6))
def test_whatever_agents_say_turns_go_on_and_the_operator_can_read_the_report(with_intent: Any, words: list[Any]) -> None:
    hears(with_intent(1), words)


@pytest.mark.parametrize("message", SAID, ids=lambda message: message.type)
def test_any_field_of_a_message_may_be_spoiled(with_intent: Any, message: Any) -> None:
    before = [json.loads(said.model_dump_json()) for said in SAID[:2]]
    for word in each_spoiled(json.loads(message.model_dump_json())):
        hears(with_intent(1), [*before, word])


def hears(intent: Intent, words: list[Any]) -> None:
    """A turn that raises would be tried again for ever; a report that the operator refuses would leave it deaf."""
    rendezvous = Rendezvous(now=0.0, epoch=1, first_intent=intent, heartbeat_timeout=0.05)
    hello = SAID[0]
    assert isinstance(hello, Hello)
    rendezvous.hello(0.0, hello)
    (agent,) = rendezvous.members.agents
    for number, word in enumerate(words):
        now = 0.1 * (number + 1)
        try:
            message = _agent_message(json.dumps(word))
        except MalformedError:
            continue
        if isinstance(message, Hello):
            rendezvous.hello(now, message)
        else:
            rendezvous.hear(now, agent, message)
        rendezvous.turn(now)
        for known in rendezvous.members.agents:
            assert rendezvous.orders(known).model_dump_json()
        text = encode(rendezvous.report())
        assert len(text.encode()) <= MAX_REPORT_BYTES
        parse_report(text)
