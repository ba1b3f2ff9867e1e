"""The connection to the rendezvous: what is said again after a break, who is refused, what happens when nobody answers."""

from __future__ import annotations

import asyncio
import base64

from trainingjob_api.contract.messages import Beat, Hello, LogPosition, MemberReport, Orders, Phase, Saved, StoreRequest
from trainingjob_api.contract.runtime import ExitCode
from unit.agent.scene import Rendezvous, Scene, make_generation, orders
from unit.agent.test_agent_storage import opened, snapshot, with_arena


async def test_silence_is_filled_with_beats(scene: Scene) -> None:
    async with scene.agent():
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.next(Beat)


async def test_after_a_break_all_that_is_not_known_is_said_again(scene: Scene) -> None:
    generation = make_generation()
    await scene.rendezvous.say(orders(generation))
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await puppet.hears("orders", stage="Running")
        await opened(puppet)
        await snapshot(puppet, arena)
        puppet.say("standing", phase="Stepping", generation=list(generation.id))
        await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
        await scene.rendezvous.next(Saved)
        await scene.rendezvous.stop()
        successor = Rendezvous(pem=scene.rendezvous.pem, port=scene.rendezvous.port, orders=orders(generation, epoch=2))
        await successor.start()
        try:
            hello = await successor.next(Hello)
            assert hello.orders is not None
            assert (hello.orders.generation, hello.epoch, hello.generation) == (generation, 1, generation.id)
            assert [(report.phase, report.generation) for report in hello.members] == [(Phase.STEPPING, generation.id)]
            assert (await successor.next(Saved)).save.step == 4
            assert (await successor.next(LogPosition)).opened_attempt == 1
            assert (await puppet.hears("orders", epoch=2))["generation"]["id"] == list(generation.id)
        finally:
            await successor.stop()
            await scene.rendezvous.start()


async def test_a_saved_shard_whose_checkpoint_is_committed_is_not_said_again(scene: Scene) -> None:
    async with scene.agent():
        puppet, arena = await with_arena(scene)
        await snapshot(puppet, arena)
        await scene.rendezvous.next(Saved)
        await scene.rendezvous.say(orders(checkpoint=4))
        await puppet.hears("orders", checkpoint=4)
        await scene.rendezvous.stop()
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.start()
        await scene.rendezvous.next(Hello, after=heard)
        await scene.rendezvous.next(Beat, after=heard)
        assert not any(isinstance(message, Saved) for message in scene.rendezvous.heard[heard:])


async def test_the_end_of_a_life_during_a_break_is_told_afterwards(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.stop()
        heard = len(scene.rendezvous.heard)
        puppet.do("print", "ValueError: lost")
        puppet.do("exit", 1)
        await scene.puppets.next()
        await scene.rendezvous.start()
        hello = await scene.rendezvous.next(Hello, after=heard)
        assert [(report.member.life, report.phase) for report in hello.members] == [(0, Phase.GONE), (1, Phase.STARTING)]
        assert hello.members[0].failure is not None
        assert hello.members[0].failure.message == "ValueError: lost"


async def test_store_calls_are_relayed_under_their_own_ids(scene: Scene) -> None:
    async with scene.agent(workers={"replicas": 1, "processesPerWorker": 2}):
        value = base64.b64encode(b"address").decode()
        await scene.rendezvous.next(Hello)
        for puppet in (await scene.puppets.next(), await scene.puppets.next()):
            puppet.say("store", id=1, operation="set", prefix="a1e1n1", keys=["k"], value=value)
            assert (await puppet.hears("store_reply"))["id"] == 1
            puppet.say("store", id=7, operation="get", prefix="a1e1n1", keys=["k"])
            assert await puppet.hears("store_reply") == {"type": "store_reply", "id": 7, "value": value}
        asked = [message.id for message in scene.rendezvous.heard if isinstance(message, StoreRequest)]
        assert len(set(asked)) == 4


async def test_store_calls_without_a_rendezvous_are_answered_at_once(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.stop()
        puppet.say("store", id=3, operation="get", prefix="a1e1n1", keys=["k"])
        assert (await puppet.hears("store_reply"))["id"] == 3
        await scene.rendezvous.start()


async def test_a_refused_agent_ends_with_the_reason(scene: Scene) -> None:
    scene.rendezvous.refuse = "incarnation 4 of worker 0 is wanted"
    agent = await scene.process()
    await agent.communicate()
    assert agent.returncode == ExitCode.REFUSED
    assert "incarnation 4" in scene.last_words().message


async def test_a_rendezvous_with_another_certificate_is_no_rendezvous(scene: Scene) -> None:
    impostor = Rendezvous()
    await impostor.start()
    environ_port, scene.rendezvous.port = scene.rendezvous.port, impostor.port
    try:
        async with scene.agent(recovery={"startupTimeoutSeconds": 1, "heartbeatTimeoutSeconds": 1.0}) as running:
            words = await running.words()
    finally:
        scene.rendezvous.port = environ_port
        await impostor.stop()
    assert words.code == ExitCode.RENDEZVOUS_LOST
    assert impostor.connections == 0


async def test_no_rendezvous_within_the_start_up_limit_ends_the_agent(scene: Scene) -> None:
    await scene.rendezvous.stop()
    async with scene.agent(recovery={"startupTimeoutSeconds": 1, "heartbeatTimeoutSeconds": 1.0}) as running:
        words = await running.words()
    await scene.rendezvous.start()
    assert words.code == ExitCode.RENDEZVOUS_LOST
    assert "recovery.startupTimeoutSeconds" in words.message


async def test_once_heard_of_a_rendezvous_may_be_away_for_longer_than_the_start_up_limit(scene: Scene) -> None:
    async with scene.agent(recovery={"startupTimeoutSeconds": 1, "heartbeatTimeoutSeconds": 1.0}) as running:
        await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.stop()
        await asyncio.wait({running.task}, timeout=1.5)
        assert not running.task.done()
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.start()
        await scene.rendezvous.next(Hello, after=heard)


def test_orders_are_whole_in_a_hello() -> None:
    hello = Hello(contract=1, build="b", worker=0, incarnation=0, address="a", orders=Orders(epoch=3))
    assert Hello.model_validate_json(hello.model_dump_json()).orders == Orders(epoch=3)
