"""The server over real TLS WebSockets: what an agent and an operator meet."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from certificates import make_certificate
from trainingjob_api.contract.intent import WorkerSeat
from trainingjob_api.contract.messages import (
    MAX_MESSAGE_BYTES,
    Beat,
    FailureCause,
    Generation,
    GenerationId,
    LogPosition,
    Orders,
    Phase,
    Stage,
    State,
    Stop,
)
from trainingjob_api.contract.tls import client_context

Make = Callable[..., Awaitable[Any]]
BEAT_SECONDS = 0.1


async def beat(agents: list[Any]) -> None:
    """Agents say that they live, until they are cut."""
    while True:
        for agent in agents:
            if not agent.socket.closed and not agent.reading.done():
                try:
                    await agent.say(Beat())
                except ConnectionError:
                    continue
        await asyncio.sleep(BEAT_SECONDS)


async def form(agents: list[Any], state: State | None = None, after: Generation | None = None) -> Generation:
    """All say Idle, form what is proposed, and run."""
    for agent in agents:
        await agent.report(Phase.IDLE, state=state)
    proposed = [await agent.orders(Stage.PROPOSED, len(agents), after) for agent in agents]
    assert len({orders.generation.id for orders in proposed}) == 1
    generation: Generation = proposed[0].generation
    for agent in agents:
        await agent.report(Phase.FORMED, generation)
    for agent in agents:
        await agent.orders(Stage.RUNNING, len(agents), after)
        await agent.report(Phase.STEPPING, generation)
    return generation


@pytest.fixture
async def beating() -> Any:
    agents: list[Any] = []
    task = asyncio.create_task(beat(agents))
    yield agents
    task.cancel()


async def start(make_site: Make, intent: Any, beating: list[Any], count: int = 3, **changes: Any) -> tuple[Any, list[Any]]:
    site = await make_site(intent, **changes)
    agents = [await site.agent(worker) for worker in range(count)]
    for agent in agents:
        await agent.greet()
    beating.extend(agents)
    return site, agents


async def test_three_agents_come_from_hello_to_running(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    site, agents = await start(make_site, with_intent(3), beating)
    operator = await site.operator()
    generation = await form(agents)
    assert generation.id == (1, 1, 1)
    assert [seat.slot for seat in generation.seats] == [0, 1, 2]
    assert [seat.address for seat in generation.seats] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    assert generation.source.kind == "Storage"
    report = await operator.until(lambda report: report.stage == "Running")
    assert (report.generation, report.world, len(report.members)) == (generation.id, 3, 3)


async def test_a_cut_connection_makes_the_next_generation_among_the_survivors(
    make_site: Make, with_intent: Any, beating: list[Any]
) -> None:
    site, agents = await start(make_site, with_intent(3), beating)
    operator = await site.operator()
    first = await form(agents)
    agents[1].cut()
    survivors = [agents[0], agents[2]]
    for agent in survivors:
        await agent.orders(Stage.OVER, 3)
    state = State(attempt=1, step=7, digest="d")
    second = await form(survivors, state, first)
    assert [seat.slot for seat in second.seats] == [0, 2]
    assert (second.source.kind, second.source.rank, second.source.state) == ("Peer", 0, state)
    report = await operator.until(lambda report: report.world == 2)
    assert [(failure.member.worker, failure.cause) for failure in report.failures] == [(1, FailureCause.LOST)]


async def test_silence_counts_as_loss(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    site, agents = await start(make_site, with_intent(3), beating)
    operator = await site.operator()
    await form(agents)
    beating.remove(agents[2])
    await agents[0].orders(Stage.OVER, 3)
    report = await operator.until(lambda report: report.failure_count > 0)
    assert [(failure.member.worker, failure.cause) for failure in report.failures] == [(2, FailureCause.SILENT)]
    assert await agents[2].closed() is not None


async def test_a_second_connection_of_the_same_pod_replaces_the_first(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    site, agents = await start(make_site, with_intent(3), beating)
    operator = await site.operator()
    generation = await form(agents)
    again = await site.agent(1)
    await again.greet(members=(again.standing(Phase.STEPPING, generation),))
    beating.append(again)
    orders = await again.orders(Stage.RUNNING, 3)
    assert orders.generation.id == generation.id
    assert await agents[1].closed() == 1008
    report = await operator.until(lambda report: report.world == 3)
    assert report.failure_count == 0
    assert site.server.rendezvous.live().id == generation.id


@pytest.mark.parametrize("token", ["wrong", "", "operator-token", "wörker"])
async def test_a_wrong_token_is_refused_before_the_upgrade(make_site: Make, with_intent: Any, token: str) -> None:
    site = await make_site(with_intent(1))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.connect("/v1/agent", token)
    assert refused.value.status == 401


async def test_a_worker_cannot_speak_as_the_operator(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.connect("/v1/operator", "worker-token")
    assert refused.value.status == 401


async def test_another_certificate_is_not_trusted(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    other, _ = make_certificate()
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await site.connect("/v1/agent", "worker-token", certificate=other)


async def test_health_needs_no_token(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    async with site.session.get(site.url("/healthz"), ssl=client_context(site.environment.certificate)) as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


@pytest.mark.parametrize(
    "text", ["{", '{"type": "nothing"}', '{"type": "beat"}', "[" * 100_000], ids=["no JSON", "unknown", "no hello", "deep"]
)
async def test_a_bad_first_message_closes_the_connection(make_site: Make, with_intent: Any, text: str) -> None:
    site = await make_site(with_intent(1))
    agent = await site.agent(0)
    await agent.socket.send_str(text)
    assert await agent.closed() == 1008


async def test_a_message_that_is_too_long_closes_the_connection(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    agent = await site.agent(0)
    await agent.socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
    assert await agent.closed() in (1006, 1009)  # the close frame is lost if the rest of the message is still under way


async def test_a_malformed_message_closes_the_connection_and_loses_its_member(
    make_site: Make, with_intent: Any, beating: list[Any]
) -> None:
    _, agents = await start(make_site, with_intent(3), beating)
    await form(agents)
    await agents[1].socket.send_bytes(b"\x00")
    assert await agents[1].closed() == 1008
    await agents[0].orders(Stage.OVER, 3)


@pytest.mark.parametrize("changes", [{"build": "other"}, {"contract": 99}, {"worker": -1}], ids=["build", "contract", "worker"])
async def test_an_agent_that_can_never_join_is_refused(make_site: Make, with_intent: Any, changes: dict[str, Any]) -> None:
    site = await make_site(with_intent(1))
    agent = await site.agent(0)
    await agent.greet(**changes)
    assert (await agent.refusal()).reason
    assert await agent.closed() == 1008


async def test_a_replaced_pod_is_refused(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1).model_copy(update={"workers": (WorkerSeat(worker=0, incarnation=2),)}))
    agent = await site.agent(0, incarnation=1)
    await agent.greet()
    assert "replaced" in (await agent.refusal()).reason


async def test_the_store_answers_two_agents_and_ends_with_its_generation(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    _, agents = await start(make_site, with_intent(2), beating, 2)
    generation = await form(agents)
    first, second = agents
    waiting = asyncio.create_task(second.ask(generation, "get", "address"))
    value = base64.b64encode(b"10.0.0.1:7").decode()
    assert (await first.ask(generation, "set", "address", value=value)).value == ""
    assert (await waiting).value == value
    assert (await first.ask(generation, "add", "count", value="2")).value == "2"
    waiting = asyncio.create_task(first.ask(generation, "wait", "never"))
    assert (await first.ask(generation, "check", "address")).value == "1"
    second.cut()
    assert (await waiting).error == "over"
    assert (await first.ask(generation, "get", "address")).error == "over"


async def test_rank_0_commits_a_whole_save(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    site, agents = await start(make_site, with_intent(3), beating)
    operator = await site.operator()
    generation = await form(agents)
    for agent in agents:
        await agent.saved(generation, 10)
    commit = await agents[0].commit()
    assert (commit.save.step, commit.world, [shard.rank for shard in commit.shards]) == (10, 3, [0, 1, 2])
    await agents[0].say(LogPosition(seq=4, attempt=1, epoch=1, checkpoint=10))
    for agent in agents:
        await agent.until(lambda message: isinstance(message, Orders) and message.checkpoint == 10)
    report = await operator.until(lambda report: report.log is not None)
    assert report.log.checkpoint == 10


async def test_another_agent_commits_when_the_committer_dies(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    _, agents = await start(make_site, with_intent(3), beating)
    generation = await form(agents)
    for agent in agents:
        await agent.saved(generation, 10)
    await agents[0].commit()
    agents[0].cut()
    assert (await agents[1].commit()).save.step == 10


async def test_a_restarted_rendezvous_adopts_what_runs(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    old, agents = await start(make_site, with_intent(3), beating)
    generation = await form(agents)
    told = [await agent.orders(Stage.RUNNING) for agent in agents]
    await old.server.close()
    new = await make_site(with_intent(3, epoch=2), heartbeat_timeout_seconds=5.0)
    again = [await new.agent(worker) for worker in range(3)]
    for agent, orders in zip(again, told, strict=True):
        await agent.greet(epoch=1, orders=orders, generation=generation.id, members=(agent.standing(Phase.STEPPING, generation),))
    beating.extend(again)
    for agent in again:
        orders = await agent.until(lambda message: isinstance(message, Orders))
        assert (orders.epoch, orders.stage, orders.generation.id) == (2, Stage.RUNNING, generation.id)
    operator = await new.operator()
    report = await operator.until(lambda report: report.world == 3)
    assert report.generation == GenerationId(1, 1, 1)
    again[0].cut()
    after = await form(again[1:], State(attempt=1, step=3, digest="d"), generation)
    assert after.id == (1, 2, 2)
    assert not any(isinstance(message, Orders) and message.stage is Stage.PROPOSED for message in again[0].heard)


async def test_a_lower_epoch_stands_down(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    agent = await site.agent(0)
    await agent.greet(epoch=2)
    assert "epoch" in (await agent.refusal()).reason
    async with asyncio.timeout(5):
        await site.server.stopped.wait()


async def test_the_operators_intent_reaches_the_agents(make_site: Make, with_intent: Any, beating: list[Any]) -> None:
    site, agents = await start(make_site, with_intent(2), beating, 2)
    operator = await site.operator()
    generation = await form(agents)
    await operator.say(with_intent(2, stop=Stop(request="s", save=False), save="now"))
    for agent in agents:
        orders = await agent.until(lambda message: isinstance(message, Orders) and message.stop is not None)
        assert (orders.stop.request, orders.save) == ("s", "now")
        await agent.report(Phase.IDLE, generation, State(attempt=1, step=4, digest="d"))
    for agent in agents:
        await agent.until(lambda message: isinstance(message, Orders) and message.done)
    report = await operator.until(lambda report: report.stopped is not None)
    assert (report.stopped, report.stopped_at_step) == ("s", 4)


async def test_an_intent_for_another_epoch_is_refused(make_site: Make, with_intent: Any) -> None:
    site = await make_site(with_intent(1))
    operator = await site.operator()
    await operator.say(with_intent(1, epoch=0))
    assert await operator.closed() == 1008
    assert site.server.rendezvous.stood_down is None
