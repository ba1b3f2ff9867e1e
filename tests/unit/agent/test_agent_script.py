"""Plain scripts: torchrun's environment, restarted whole, done when every rank's script has ended with 0."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainingjob_agent.process.script import script_environment
from trainingjob_api.contract.messages import Hello, LogPosition, MemberId, MemberReport, Phase, Stage
from trainingjob_api.contract.runtime import ExitCode
from trainingjob_storage.errors import Refused
from trainingjob_storage.journal import Journal
from unit.agent.scene import Rendezvous, Scene, make_generation, orders

ZERO = MemberId(0, 3, 0, 0)
ONE = MemberId(1, 3, 0, 0)
WRITE = "import json, os, sys; json.dump(dict(os.environ), open(os.environ['OUT'] + os.environ['RANK'], 'w')); "


def script(code: str) -> dict[str, Any]:
    return {"training": {"script": {"command": [sys.executable, "-c", code]}}}


def of_worker(worker: int) -> Callable[[Hello], bool]:
    return lambda hello: hello.worker == worker


async def phase(rendezvous: Rendezvous, wanted: Phase, member: MemberId = ZERO, after: int = 0) -> MemberReport:
    return await rendezvous.next(MemberReport, lambda report: report.phase is wanted and report.member == member, after=after)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUT", f"{tmp_path}/out-")
    for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def told(out: Path, rank: int) -> dict[str, str]:
    environ: dict[str, str] = json.loads((out / f"out-{rank}").read_text())
    return environ


async def test_two_workers_scripts_get_torchruns_names_and_end_the_job(scene: Scene, out: Path) -> None:
    generation = make_generation(1, ZERO, ONE)
    code = WRITE
    async with scene.agent(**script(code)) as first, scene.agent(worker=1, **script(code)) as second:
        for member in (ZERO, ONE):
            await scene.rendezvous.next(Hello, of_worker(member.worker))
        await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
        for member in (ZERO, ONE):
            assert (await phase(scene.rendezvous, Phase.FORMED, member)).generation == generation.id
        assert not (out / "out-0").exists()
        await scene.rendezvous.say(orders(generation))
        for member in (ZERO, ONE):
            await phase(scene.rendezvous, Phase.FINISHING, member)
        await scene.rendezvous.next(LogPosition, lambda position: position.opened_attempt == 1)
        await scene.rendezvous.next(LogPosition, lambda position: position.done)
        await scene.rendezvous.say(orders(generation, done=True))
        assert [(await running.words()).code for running in (first, second)] == [ExitCode.DONE, ExitCode.DONE]
    zero, one = told(out, 0), told(out, 1)
    assert zero["MASTER_ADDR"] == one["MASTER_ADDR"] == "127.0.0.1"
    assert zero["MASTER_PORT"] == one["MASTER_PORT"]
    assert (one["RANK"], one["WORLD_SIZE"], one["LOCAL_RANK"], one["GROUP_RANK"], one["OMP_NUM_THREADS"]) == ("1", "2", "0", "1", "1")
    assert (zero["PYTHONHASHSEED"], one["PYTHONHASHSEED"]) == ("0", "0"), "the seed's default"
    assert not [name for name in zero if name.startswith("TRAININGJOB_")]


async def test_a_store_that_refuses_the_jobs_end_is_asked_again(scene: Scene, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, refusals = Journal.done, ["credentials have expired"]

    def refused_once(journal: Journal, *arguments: Any) -> LogPosition:
        if refusals:
            raise Refused(refusals.pop())
        return done(journal, *arguments)

    monkeypatch.setattr(Journal, "done", refused_once)
    async with scene.agent(**script(WRITE)):
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(make_generation(), Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED)
        await scene.rendezvous.say(orders(make_generation()))
        await scene.rendezvous.next(LogPosition, lambda position: position.done)
        await scene.rendezvous.say(orders(make_generation(), done=True))


async def test_a_crash_is_reported_and_the_next_generation_starts_the_script_anew(scene: Scene, out: Path) -> None:
    code = WRITE + "sys.exit('RuntimeError: once') if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else None"
    async with scene.agent(**script(code)):
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(make_generation(1), Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED)
        await scene.rendezvous.say(orders(make_generation(1)))
        gone = await phase(scene.rendezvous, Phase.GONE)
        assert gone.failure is not None
        assert (gone.failure.cause, gone.failure.message, gone.failure.exit_code) == ("Crash", "RuntimeError: once", 1)
        port = told(out, 0)["MASTER_PORT"]
        again = ZERO._replace(life=1)
        idle = await phase(scene.rendezvous, Phase.IDLE, again)
        assert idle.state is not None
        assert (idle.state.attempt, idle.state.step) == (1, 0)
        second = make_generation(2, again, source="Peer")
        await scene.rendezvous.say(orders(second, Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED, again)
        await scene.rendezvous.say(orders(second))
        await phase(scene.rendezvous, Phase.FINISHING, again)
        assert told(out, 0)["TORCHELASTIC_RESTART_COUNT"] == "1"
        assert told(out, 0)["MASTER_PORT"] != port


async def test_a_generation_that_is_over_ends_its_script_and_the_member_is_idle(scene: Scene, out: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
    generation = make_generation()
    async with scene.agent(settings={"end_seconds": 0.2}, **script(code)) as running:
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED)
        await scene.rendezvous.say(orders(generation))
        await phase(scene.rendezvous, Phase.STEPPING)
        heard = len(scene.rendezvous.heard)
        await scene.rendezvous.say(orders(generation, regroup=True))
        await phase(scene.rendezvous, Phase.IDLE, after=heard)
        assert not any(isinstance(message, MemberReport) and message.phase is Phase.GONE for message in scene.rendezvous.heard)
        await scene.rendezvous.say(orders(generation, done=True))
        await running.words()
    assert (scene.storage / "runs" / "0" / "3" / "0.0.log").exists()


async def test_a_program_that_is_not_there_is_a_user_error_that_names_the_field(scene: Scene) -> None:
    async with scene.agent(settings={"failed_seconds": 0.1}, training={"script": {"command": ["no-such-program"]}}) as running:
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(make_generation(), Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED)
        await scene.rendezvous.say(orders(make_generation()))
        words = await running.words()
    assert words.code == ExitCode.USER_ERROR
    assert words.message.startswith("spec.training.script.command")


async def test_the_command_has_the_scripts_environment_in_it(scene: Scene, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/d")
    code = f"import pathlib, sys; pathlib.Path(r'{out}', 'words').write_text(repr(sys.argv[1:]))"
    words = ["--data=$(DATA)", "$(RANK)/$(WORLD_SIZE)", "$(TRAININGJOB_TOKEN)", "$$(DATA)", "$(NOWHERE)"]
    command = script(code)["training"]["script"]["command"]
    async with scene.agent(training={"script": {"command": [*command, *words]}}) as running:
        await scene.rendezvous.next(Hello)
        await scene.rendezvous.say(orders(make_generation(), Stage.PROPOSED))
        await phase(scene.rendezvous, Phase.FORMED)
        await scene.rendezvous.say(orders(make_generation()))
        await phase(scene.rendezvous, Phase.FINISHING)
        await scene.rendezvous.say(orders(make_generation(), done=True))
        await running.words()
    assert (out / "words").read_text() == repr(["--data=/d", "0/1", "$(TRAININGJOB_TOKEN)", "$(DATA)", "$(NOWHERE)"])


async def test_torchruns_of_two_workers_are_one_job(scene: Scene, out: Path) -> None:
    generation = make_generation(1, ZERO, ONE)
    (out / "train.py").write_text(WRITE)
    command = ["env", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin", "torchrun", "--nproc-per-node", "2", str(out / "train.py")]
    torchrun = {"training": {"script": {"command": command}}}
    async with scene.agent(**torchrun) as first, scene.agent(worker=1, **torchrun) as second:
        for member in (ZERO, ONE):
            await scene.rendezvous.next(Hello, of_worker(member.worker))
        await scene.rendezvous.say(orders(generation, Stage.PROPOSED))
        for member in (ZERO, ONE):
            await phase(scene.rendezvous, Phase.FORMED, member)
        await scene.rendezvous.say(orders(generation))
        for member in (ZERO, ONE):
            await phase(scene.rendezvous, Phase.FINISHING, member)
        await scene.rendezvous.say(orders(generation, done=True))
        await first.words()
        await second.words()
    seen = [(told(out, rank)["RANK"], told(out, rank)["WORLD_SIZE"], told(out, rank)["LOCAL_RANK"]) for rank in range(4)]
    assert seen == [("0", "4", "0"), ("1", "4", "1"), ("2", "4", "0"), ("3", "4", "1")]


def test_a_torchrun_starts_a_process_for_each_gpu_of_its_own() -> None:
    names = script_environment(make_generation(1, ZERO, ONE), 1, 29500, "uid", 5, gpus=4)
    assert (names["PET_NPROC_PER_NODE"], names["PET_NNODES"], names["PET_NODE_RANK"]) == ("4", "2", "1")


def test_ranks_of_a_worker_are_counted_locally_and_workers_as_groups() -> None:
    members = [MemberId(worker, 0, process, 0) for worker in (4, 2) for process in (0, 1)]
    names = script_environment(make_generation(3, *members), 2, 29500, "uid", 5)
    wanted = {
        "RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
        "ROLE_RANK": "2", "ROLE_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "uid", "TORCHELASTIC_RESTART_COUNT": "2",
        "TORCHELASTIC_MAX_RESTARTS": "5", "MASTER_PORT": "29500", "MASTER_ADDR": "127.0.0.1", "ROLE_NAME": "default",
        "PET_NNODES": "4", "PET_NODE_RANK": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_PORT": "29500", "PET_MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    assert names == wanted
