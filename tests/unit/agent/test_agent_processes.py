"""Lives of training processes under a real agent: how they start, what they are told, how their end is reported."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from trainingjob_api.contract.channel import ProcessEnvironment
from trainingjob_api.contract.messages import Failure, Hello, MemberId, MemberReport, Phase, Progress, Stage
from trainingjob_api.contract.runtime import ExitCode
from unit.agent.scene import TOKEN, Scene, gone, make_generation, orders

FIRST = MemberId(0, 3, 0, 0)
SECOND = MemberId(0, 3, 0, 1)


def is_gone(report: MemberReport) -> bool:
    return report.phase is Phase.GONE


def failure_of(report: MemberReport) -> Failure:
    assert report.failure is not None
    return report.failure


async def test_a_hello_comes_first_and_names_build_and_members(scene: Scene) -> None:
    async with scene.agent():
        await scene.puppets.next()
        await scene.rendezvous.next(Hello)
        hello = scene.rendezvous.heard[0]
        assert isinstance(hello, Hello)
        assert (hello.build, hello.worker, hello.incarnation, hello.address) == ("build-1", 0, 3, "127.0.0.1")
        assert [report.member for report in hello.members] == [FIRST]


async def test_the_process_gets_the_users_variables_and_its_own_but_neither_token_nor_certificate(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        assert ProcessEnvironment.from_env(puppet.environ).member() == FIRST
        assert puppet.environ["USERS_OWN"] == "kept"
        assert TOKEN not in "\n".join(puppet.environ.values())
        assert "TRAININGJOB_RENDEZVOUS_CERTIFICATE" not in puppet.environ


async def test_orders_reach_the_process_at_its_start_and_when_they_change(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        await puppet.hears("orders", epoch=1, stage="Over")
        generation = make_generation()
        await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
        heard = await puppet.hears("orders", stage="Proposed")
        assert heard["generation"]["seats"][0]["member"] == list(FIRST)


async def test_orders_of_a_lower_epoch_are_not_obeyed(scene: Scene) -> None:
    await scene.rendezvous.say(orders(make_generation(), epoch=5))
    async with scene.agent():
        puppet = await scene.puppets.next()
        await puppet.hears("orders", epoch=5)
        await scene.rendezvous.say(orders(failed="an old rendezvous' word", epoch=4))
        await scene.rendezvous.say(orders(make_generation(2), epoch=5))
        assert (await puppet.hears("orders"))["epoch"] == 5


async def test_standing_and_pace_are_handed_on_without_numbers_that_json_cannot_say(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        state = {"attempt": 1, "step": 7, "digest": "d"}
        puppet.say("standing", phase="Idle", state=state)
        report = await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.IDLE)
        assert report.state is not None
        assert report.state.step == 7
        puppet.say("pace", step=8, total_steps=10, loss=float("nan"), metrics={"accuracy": 0.5, "broken": float("inf")})
        progress = await scene.rendezvous.next(Progress)
        assert (progress.step, progress.loss, progress.metrics) == (8, None, {"accuracy": 0.5})


async def test_a_killed_process_is_reported_with_its_stamp_and_lives_again_under_the_next_life(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        puppet.do("stamp", {"phase": "Stepping", "generation": [1, 1, 4], "step": 12})
        await puppet.tells("stamped")
        os.kill(puppet.pid, signal.SIGKILL)
        failure = failure_of(await scene.rendezvous.next(MemberReport, is_gone))
        assert (failure.member, failure.cause, failure.message, failure.exit_code) == (FIRST, "Signal", "SIGKILL", -9)
        assert (failure.step, failure.phase, failure.generation) == (12, "Stepping", (1, 1, 4))
        second = await scene.puppets.next()
        assert ProcessEnvironment.from_env(second.environ).member() == SECOND
        assert second.pid != puppet.pid


async def test_a_crash_is_reported_with_the_last_line_of_its_output(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        puppet.do("print", "Traceback (most recent call last):\n  somewhere\nRuntimeError: no luck")
        puppet.do("exit", 1)
        failure = failure_of(await scene.rendezvous.next(MemberReport, is_gone))
        assert (failure.cause, failure.message, failure.exit_code) == ("Crash", "RuntimeError: no luck", 1)


async def test_a_process_that_was_stopped_for_long_is_replaced_as_hung(scene: Scene) -> None:
    async with scene.agent(settings={"stopped_seconds": 0.0}):
        puppet = await scene.puppets.next()
        os.kill(puppet.pid, signal.SIGSTOP)
        failure = failure_of(await scene.rendezvous.next(MemberReport, is_gone))
        assert (failure.cause, failure.exit_code) == ("Hung", -signal.SIGKILL)
        assert "stopped by a signal" in failure.message
        await scene.puppets.next()


async def test_a_process_that_speaks_nonsense_is_ended(scene: Scene) -> None:
    async with scene.agent():
        puppet = await scene.puppets.next()
        puppet.do("raw", '{"type": "unheard-of"}\n')
        failure = failure_of(await scene.rendezvous.next(MemberReport, is_gone))
        assert failure.exit_code == -signal.SIGKILL


async def test_the_output_of_every_life_is_shown_and_kept_in_storage(scene: Scene) -> None:
    async with scene.agent() as running:
        first = await scene.puppets.next()
        first.do("print", "words of the first")
        first.do("exit", 1)
        second = await scene.puppets.next()
        second.do("print", "words of the second")
        second.say("standing", phase="Idle")
        await scene.rendezvous.next(MemberReport, lambda report: report.member == SECOND and report.phase is Phase.IDLE)
        await scene.rendezvous.say(orders(done=True))
        second.do("exit", 0)
        await running.words()
    kept = scene.storage / "runs" / "0" / "3"
    assert "words of the first" in (kept / "0.0.log").read_text()
    assert "words of the second" in (kept / "0.1.log").read_text()
    assert b"[0/0.0] words of the first\n" in scene.screen.getvalue()


async def test_a_user_error_is_reported_and_ends_the_agent_with_its_code_and_message(scene: Scene) -> None:
    async with scene.agent() as running:
        puppet = await scene.puppets.next()
        puppet.say("user_error", message="spec.training.task.class: there is no somewhere:Task")
        puppet.do("exit", ExitCode.USER_ERROR)
        failure = failure_of(await scene.rendezvous.next(MemberReport, is_gone))
        assert failure.cause == "UserError"
        assert failure.message.startswith("spec.training.task.class")
        await scene.rendezvous.say(orders(failed=failure.message))
        words = await running.words()
    assert (words.code, words.message) == (ExitCode.USER_ERROR, failure.message)


async def test_the_last_words_of_a_done_job_say_so_and_every_process_is_gone(scene: Scene) -> None:
    async with scene.agent(settings={"end_seconds": 0.5}) as running:
        puppet = await scene.puppets.next()
        puppet.do("ignore", True)
        puppet.say("standing", phase="Finishing", generation=[1, 1, 1])
        puppet.say("pace", step=10, total_steps=10)
        await scene.rendezvous.next(Progress)
        await scene.rendezvous.say(orders(done=True))
        words = await running.words()
    assert (words.code, words.done, words.step) == (ExitCode.DONE, True, 10)
    assert not Path(f"/proc/{puppet.pid}").exists()


async def test_a_process_that_ended_is_not_started_again_when_the_job_is_over(scene: Scene) -> None:
    """Twice dead, its next start is a second away; the agent neither starts it nor waits for it to end by itself."""
    async with scene.agent(settings={"end_seconds": 60.0}) as running:
        for member in (FIRST, SECOND):
            (await scene.puppets.next()).do("exit", 1)
            await scene.rendezvous.next(MemberReport, lambda report, member=member: is_gone(report) and report.member == member)
        await scene.rendezvous.say(orders(done=True))
        words = await running.words()
    assert (words.code, words.done) == (ExitCode.DONE, True)
    assert len(list((scene.storage / "runs" / "0" / "3").iterdir())) == 2


async def test_the_agents_death_is_its_processes_death(scene: Scene) -> None:
    agent = await scene.process()
    puppet = await scene.puppets.next()
    assert Path(f"/proc/{puppet.pid}").exists()
    agent.kill()
    await agent.wait()
    await gone(puppet.pid)


async def test_a_bad_environment_ends_with_a_user_error_that_names_the_field(scene: Scene) -> None:
    agent = await scene.process(workers={"replicas": "many"})
    output, _ = await agent.communicate()
    assert agent.returncode == ExitCode.USER_ERROR
    assert "workers.replicas" in scene.last_words().message
    assert b"Traceback" not in output
