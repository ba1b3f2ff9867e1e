"""Ends of processes: noticed at once whoever holds their pipes, with nothing left behind; scripts that fail at their start; the grace."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from trainingjob_agent.settings import Settings
from trainingjob_api.contract.messages import Failure, Generation, Hello, MemberId, MemberReport, Phase, Stage
from trainingjob_api.contract.runtime import ExitCode
from unit.agent.scene import Running, Scene, gone, make_generation, orders

ZERO = MemberId(0, 3, 0, 0)
FOR_EVER = "import time, sys; time.sleep(600)"
HELPER = f"""
import subprocess, sys
def helper(**options):
    process = subprocess.Popen([sys.executable, "-c", {FOR_EVER!r}], **options)
    print("helper %d" % process.pid, flush=True)  # one write: who reads the log meanwhile sees all of it
"""
DAEMON = """
def daemon():  # with another parent, another session, and nothing of its life's environment
    import os
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("helper %d" % os.getpid(), flush=True)
            os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
        os._exit(0)
    os.wait()
"""


def python(code: str) -> dict[str, Any]:
    return {"training": {"script": {"command": [sys.executable, "-c", code]}}}


async def started(scene: Scene, generation: Generation, member: MemberId = ZERO) -> None:
    """The member's script runs."""
    await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
    await stands(scene, Phase.FORMED, member)
    await scene.rendezvous.say(orders(generation))
    await stands(scene, Phase.STEPPING, member)


async def stands(scene: Scene, phase: Phase, member: MemberId = ZERO, after: int = 0) -> MemberReport:
    return await scene.rendezvous.next(MemberReport, lambda report: report.phase is phase and report.member == member, after=after)


@contextlib.asynccontextmanager
async def script(scene: Scene, code: str, **options: Any) -> AsyncIterator[Running]:
    async with scene.agent(**python(code), **options) as running:
        await scene.rendezvous.next(Hello)
        await started(scene, make_generation())
        yield running


async def failed(scene: Scene, member: MemberId = ZERO) -> Failure:
    report = await stands(scene, Phase.GONE, member)
    assert report.failure is not None
    return report.failure


def log_of(scene: Scene, life: int = 0) -> Path:
    return scene.folder / "scratch-0" / "runs" / "0" / "3" / f"0.{life}.log"


def helper(scene: Scene) -> int:
    """The process that the script said it left behind."""
    return int(next(line for line in log_of(scene).read_text().splitlines() if line.startswith("helper")).split()[1])


class TestTheEndIsTheProcessesOwn:
    @pytest.mark.parametrize("left", ["helper()", "helper(start_new_session=True)"])
    async def test_a_script_that_fails_with_a_helper_on_its_output_has_failed_and_the_helper_is_ended(
        self, scene: Scene, left: str
    ) -> None:
        async with script(scene, f"{HELPER}{left}; print('last words', flush=True); import os; os._exit(3)"):
            failure = await failed(scene)
            assert (failure.exit_code, failure.message) == (3, "last words")
            await gone(helper(scene))

    async def test_a_script_that_ends_with_0_with_a_helper_on_its_output_has_ended(self, scene: Scene) -> None:
        async with script(scene, f"{HELPER}helper()"):
            await stands(scene, Phase.FINISHING)
            await gone(helper(scene))

    async def test_a_killed_training_process_is_reported_at_once_while_its_children_hold_its_pipes(self, scene: Scene) -> None:
        async with scene.agent():
            puppet = await scene.puppets.next()
            puppet.do("leave behind", [sys.executable, "-c", FOR_EVER])
            left = await puppet.tells("left behind")
            before = time.monotonic()
            os.kill(puppet.pid, signal.SIGKILL)
            report = await scene.rendezvous.next(MemberReport, lambda report: report.phase is Phase.GONE)
            assert report.failure is not None
            assert report.failure.message == "SIGKILL"
            assert time.monotonic() - before < 0.9, "nobody was waited for"
            await gone(left)

    async def test_an_agent_of_its_own_ends_daemons_that_have_nothing_of_the_script_any_more(self, scene: Scene) -> None:
        code = f"{HELPER}{DAEMON}daemon(); import os; os._exit(3)"
        agent = await scene.process(**python(code))
        try:
            await scene.rendezvous.next(Hello)
            await started(scene, make_generation())
            await failed(scene)
            await gone(helper(scene))
        finally:
            agent.kill()
            await agent.wait()

    async def test_all_that_was_printed_before_the_end_is_kept(self, scene: Scene) -> None:
        code = f"{HELPER}helper(); print('x' * 200 + '\\n', end='', flush=True); [print(n) for n in range(300)]; import os; os._exit(3)"
        async with script(scene, code):
            assert (await failed(scene)).message == "299"
            assert log_of(scene).read_text().splitlines()[-2:] == ["299", "agent: the script ended with 3"]


class TestAScriptThatFailsAtItsStart:
    async def test_every_death_has_a_life_of_its_own_and_the_pauses_are_not_cut_short(self, scene: Scene) -> None:
        async with scene.agent(**python("import no_such_module")):
            await scene.rendezvous.next(Hello)
            died = []
            for life in range(3):
                member = ZERO._replace(life=life)
                generation = make_generation(life + 1, member, source="Storage" if life == 0 else "Peer")
                if life:
                    await stands(scene, Phase.IDLE, member)
                await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
                await stands(scene, Phase.FORMED, member)
                await scene.rendezvous.say(orders(generation))
                failure = await failed(scene, member)
                died.append(time.monotonic())
                assert failure.message == "ModuleNotFoundError: No module named 'no_such_module' (<string>, line 1)"
                await scene.rendezvous.say(orders(generation, Stage.OVER))
                waiting = await stands(scene, Phase.STARTING, ZERO._replace(life=life + 1))
                assert waiting.state is not None, "the attempt is not lost"
            await scene.rendezvous.say(orders(make_generation(9, ZERO._replace(life=2)), Stage.PROPOSED))
            assert died[2] - died[1] > 0.5, "a pause of a second, less what a busy machine took to tell of the death"

    @pytest.mark.parametrize(
        ("prepare", "word", "said"),
        [
            ("printf 'echo hi\\n' > T; chmod +x T", "T", "Exec format error; it has no #! line"),
            ("printf '#!/bin/no-such-shell\\n' > T; chmod +x T", "T", "the program after its #! is not there"),
            ("printf '#!/bin/sh\\r\\n' > T; chmod +x T", "T", "a carriage return"),
            ("printf 'echo hi\\n' > T", "T", "Permission denied; name a program that may be executed (chmod +x)"),
            ("ln -s T U; ln -s U T", "T", "links lead in a circle"),
            ("touch T", "T/train.sh", "a part of its path is a file"),
            ("mkdir T", "T", "Permission denied"),
            ("true", "no-such-program", "No such file or directory; name a program of the image"),
        ],
    )
    async def test_a_program_that_cannot_be_executed_is_a_user_error_at_once(
        self, scene: Scene, prepare: str, word: str, said: str
    ) -> None:
        assert os.system(prepare.replace("T", f"{scene.folder}/T").replace("U", f"{scene.folder}/U")) == 0
        command = [word.replace("T", f"{scene.folder}/T")]
        async with scene.agent(settings={"failed_seconds": 0.1}, training={"script": {"command": command}}) as running:
            await scene.rendezvous.next(Hello)
            await started(scene, make_generation())
            words = await running.words()
        assert words.code == ExitCode.USER_ERROR
        assert words.message.startswith("spec.training.script.command: cannot start")
        assert said in words.message

    async def test_a_command_that_is_too_long_for_the_kernel_is_a_user_error(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(16):
            monkeypatch.setenv(f"LONG_{number}", "x" * 120_000)
        command = [sys.executable, "-c", "pass", *["y" * 4000] * 250]
        async with scene.agent(settings={"failed_seconds": 0.1}, training={"script": {"command": command}}) as running:
            await scene.rendezvous.next(Hello)
            await started(scene, make_generation())
            words = await running.words()
        assert (words.code, "Argument list too long" in words.message) == (ExitCode.USER_ERROR, True)


SAVES = """
import signal, sys, time
def save(*_):
    print("saving", flush=True)
    time.sleep(5.5)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""


async def printed(scene: Scene, word: str) -> None:
    async for line in lines_of(scene):
        if word in line:
            return


async def lines_of(scene: Scene) -> AsyncIterator[str]:
    import asyncio

    async with asyncio.timeout(20):
        seen = 0
        while True:
            lines = log_of(scene).read_text().splitlines() if log_of(scene).exists() else []
            for line in lines[seen:]:
                yield line
            seen = len(lines)
            await asyncio.sleep(0.01)


class TestTheGrace:
    async def test_a_script_gets_its_pods_grace_when_its_generation_is_over(self, scene: Scene) -> None:
        async with script(scene, SAVES, grace=120) as running:
            await printed(scene, "ready")
            heard = len(scene.rendezvous.heard)
            await scene.rendezvous.say(orders(make_generation(), regroup=True))
            await stands(scene, Phase.IDLE, after=heard)
            assert "saved" in log_of(scene).read_text().splitlines()
            await scene.rendezvous.say(orders(make_generation(), done=True))
            await running.words()

    async def test_a_worker_that_is_told_to_leave_tells_its_script_though_no_rendezvous_answers(self, scene: Scene) -> None:
        code = SAVES.replace("5.5", "0.1")
        async with script(scene, code, grace=120) as running:
            await printed(scene, "ready")
            await scene.rendezvous.stop()
            running.agent.leave()
            words = await running.words()
        await scene.rendezvous.start()
        assert (words.code, "left in order" in words.message) == (ExitCode.DONE, True)
        assert "saved" in log_of(scene).read_text().splitlines()

    async def test_the_grace_runs_from_the_first_signal_and_ends_with_a_kill(self, scene: Scene) -> None:
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
        async with script(scene, code, grace=1.5) as running:
            await printed(scene, "ready")
            before = time.monotonic()
            running.agent.leave()
            await running.words()
            assert time.monotonic() - before < 1.9

    async def test_the_workers_of_a_data_loader_are_not_told_to_end_while_the_script_saves(self, scene: Scene) -> None:
        code = f"""{HELPER}
import signal, time
def save(*_):
    time.sleep(0.3)
    print("worker still there:", loader.poll() is None, flush=True)
    sys.exit(0)
loader = subprocess.Popen([sys.executable, "-c", {FOR_EVER!r}])
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""
        async with script(scene, code, grace=120):
            await printed(scene, "ready")
            await scene.rendezvous.say(orders(make_generation(), regroup=True))
            await printed(scene, "worker still there: True")

    async def test_what_a_shell_has_started_gets_the_grace_though_the_shell_has_not(self, scene: Scene) -> None:
        inner = SAVES.replace("5.5", "0.3")
        command = ["/bin/sh", "-c", '"$0" -c "$1"; echo after', sys.executable, inner]
        async with scene.agent(grace=120, training={"script": {"command": command}}):
            await scene.rendezvous.next(Hello)
            await started(scene, make_generation())
            await printed(scene, "ready")
            await scene.rendezvous.say(orders(make_generation(), regroup=True))
            await printed(scene, "saved")

    @pytest.mark.parametrize(
        ("grace", "kind", "leave", "end"),
        [(120, "script", 117, 117), (30, "script", 27, 27), (3, "script", 2, 2), (60, "task", 52, 5), (None, "script", 25, 5)],
    )
    def test_a_script_has_its_pods_grace_but_for_the_agents_last_words(
        self, scene: Scene, grace: float | None, kind: str, leave: float, end: float
    ) -> None:
        spec = python("pass") if kind == "script" else {}
        settings = Settings.read(scene.environ(0, grace, **spec))
        assert (settings.leave_seconds, settings.end_seconds) == (leave, end)
