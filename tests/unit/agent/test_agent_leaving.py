"""SIGTERM, stops, and the last words."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from trainingjob_api.contract.messages import Hello, Leaving, MemberReport, Phase, Stage, Stop
from trainingjob_api.contract.runtime import ExitCode
from unit.agent.scene import Scene, gone, make_generation, orders


async def test_sigterm_is_told_and_obeyed_once_the_members_are_at_rest(scene: Scene) -> None:
    generation = make_generation()
    await scene.rendezvous.say(orders(generation))
    agent = await scene.process()
    puppet = await scene.puppets.next()
    puppet.say("standing", phase="Stepping", generation=list(generation.id))
    puppet.say("pace", step=6, total_steps=10)
    await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
    agent.send_signal(signal.SIGTERM)
    await scene.rendezvous.next(Leaving)
    assert Path(f"/proc/{puppet.pid}").exists()
    puppet.say("standing", phase="Idle", state={"attempt": 1, "step": 6, "digest": "d"})
    await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.IDLE)
    await scene.rendezvous.say(orders(generation, Stage.OVER))
    await agent.communicate()
    assert agent.returncode == ExitCode.DONE
    assert (scene.last_words().done, scene.last_words().step) == (False, 6)
    await gone(puppet.pid)


async def test_a_second_sigterm_ends_everything_at_once(scene: Scene) -> None:
    agent = await scene.process()
    puppet = await scene.puppets.next()
    puppet.do("ignore", True)
    puppet.say("standing", phase="Stepping", generation=[1, 1, 1])
    await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
    agent.send_signal(signal.SIGTERM)
    await scene.rendezvous.next(Leaving)
    agent.send_signal(signal.SIGTERM)
    await agent.communicate()
    assert json.loads(scene.termination.read_text())["code"] == agent.returncode
    await gone(puppet.pid)


async def test_members_that_reach_no_boundary_are_ended_after_the_grace(scene: Scene) -> None:
    async with scene.agent(settings={"leave_seconds": 0.2, "end_seconds": 0.2}) as running:
        puppet = await scene.puppets.next()
        puppet.do("ignore", True)
        puppet.say("standing", phase="Stepping", generation=[1, 1, 1])
        await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
        running.agent.leave()
        words = await running.words()
    assert "no step boundary" in words.message
    await gone(puppet.pid)


async def test_leaving_is_said_again_after_a_break(scene: Scene) -> None:
    async with scene.agent() as running:
        puppet = await scene.puppets.next()
        puppet.say("standing", phase="Stepping", generation=[1, 1, 1])
        await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.STEPPING)
        await scene.rendezvous.stop()
        heard = len(scene.rendezvous.heard)
        running.agent.leave()
        await scene.rendezvous.start()
        await scene.rendezvous.next(Hello, after=heard)
        await scene.rendezvous.next(Leaving, after=heard)


async def test_a_stopped_job_says_at_which_step(scene: Scene) -> None:
    async with scene.agent(settings={"end_seconds": 0.2}) as running:
        await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(done=True, stop=Stop(request="suspend-1"), checkpoint=40))
        words = await running.words()
    assert (words.code, words.done, words.suspended_at_step) == (ExitCode.DONE, False, 40)


async def test_a_failed_job_ends_in_order(scene: Scene) -> None:
    async with scene.agent() as running:
        await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(failed="maxFailures (5) were exceeded"))
        words = await running.words()
    assert (words.code, words.done) == (ExitCode.DONE, False)
    assert "maxFailures" in words.message
