"""The agent's pure decisions: why a process ended, when the next life starts, what is said again, when an agent may leave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_agent.__main__ import leave_words
from trainingjob_agent.departure import at_rest, closing
from trainingjob_agent.outbox import GONE_SECONDS, Outbox
from trainingjob_agent.process.failure import ForeignStorageError, UserMistakeError, classify, count_oom_kills, restart_delay
from trainingjob_agent.process.hang import LEAVE_SECONDS, generation_is_over, hung, stuck
from trainingjob_agent.process.life import child_environment
from trainingjob_agent.stamp import Stamp
from trainingjob_api.contract.channel import Raised
from trainingjob_api.contract.messages import (
    GenerationId,
    Hello,
    Leaving,
    LogPosition,
    MemberId,
    MemberReport,
    Phase,
    Saved,
    SaveId,
    Shard,
    Stage,
    Stop,
)
from trainingjob_api.contract.runtime import ExitCode, Termination
from unit.agent.scene import make_generation, orders

ME = MemberId(0, 3, 0, 0)
NOWHERE = Stamp(None, 5, Phase.STEPPING, 0, 0, 0)


@pytest.mark.parametrize(
    ("code", "oom", "said", "cause", "message"),
    [
        (1, 0, None, "Crash", "the last line"),
        (-11, 0, None, "Signal", "SIGSEGV"),
        (-9, 0, None, "Signal", "SIGKILL"),
        (-9, 1, None, "OutOfMemory", "killed for memory"),
        (-15, 1, None, "Signal", "SIGTERM"),
        (64, 0, "optimizer.name: …", "UserError", "optimizer.name"),
        (64, 0, None, "UserError", "the last line"),
        (0, 0, None, "Crash", "before the job was done"),
        (-60, 0, None, "Signal", "signal 60"),
    ],
)
def test_the_end_of_a_process_is_classified(code: int, oom: int, said: str | None, cause: str, message: str) -> None:
    mistake = None if said is None else UserMistakeError(said)
    failure = classify(ME, code, NOWHERE, last_line="the last line", mistake=mistake, oom_kills=oom)
    assert failure is not None
    assert failure.cause == cause
    assert message in failure.message
    assert (failure.exit_code, failure.step, failure.phase) == (code, 5, "Stepping")


def test_a_process_that_could_not_be_answered_is_lost_for_that_and_not_for_a_signal() -> None:
    why = "its agent could not answer it: MemoryError: "
    failure = classify(ME, -9, NOWHERE, last_line="", mistake=None, oom_kills=0, unanswered=why)
    assert failure is not None
    assert (failure.cause, failure.message) == ("Crash", why)
    killed = classify(ME, -9, NOWHERE, last_line="", mistake=None, oom_kills=1, unanswered=why)
    assert killed is not None
    assert killed.cause == "OutOfMemory", "the kernel knows better"


def test_an_end_with_0_of_a_done_job_is_no_failure() -> None:
    assert classify(ME, 0, NOWHERE, last_line="", mistake=None, oom_kills=0, done=True) is None


def test_an_exception_is_told_in_the_process_own_words() -> None:
    raised = Raised(message="KeyError: 'a' (task.py:42, in loss)", where="task.py:42 KeyError")
    failure = classify(ME, 1, NOWHERE, last_line="a peer's words", mistake=None, oom_kills=0, raised=raised)
    assert failure is not None
    assert (failure.cause, failure.message, failure.raised) == ("Crash", raised.message, raised.where)
    killed = classify(ME, -9, NOWHERE, last_line="", mistake=None, oom_kills=0, raised=raised)
    assert killed is not None
    assert killed.raised == "", "it did not end by it"


def test_another_jobs_storage_is_a_cause_of_its_own() -> None:
    failure = classify(ME, -9, NOWHERE, last_line="", mistake=ForeignStorageError("belongs to another job"), oom_kills=0)
    assert failure is not None
    assert (failure.cause, failure.message) == ("Fenced", "belongs to another job")


SECOND = 10**9


@pytest.mark.parametrize(
    ("phase", "entered", "silent", "taken"),
    [
        (Phase.STEPPING, 3, 899, False),
        (Phase.STEPPING, 3, 901, True),
        (Phase.STEPPING, 4, 90_000, False),
        (Phase.STARTING, 3, 1801, True),
        (Phase.EVALUATING, 3, 901, False),
        (Phase.IDLE, 3, 90_000, False),
        (Phase.FINISHING, 3, 90_000, False),
    ],
)
def test_hung_is_who_does_not_move_and_has_not_entered_a_collective(phase: Phase, entered: int, silent: int, taken: bool) -> None:
    stamp = Stamp(GenerationId(1, 1, 1), 5, phase, entered, 3, 7 * SECOND)
    assert (hung(stamp, (7 + silent) * SECOND, 0) is not None) is taken


@pytest.mark.parametrize(
    ("entered", "over_for", "moved_ago", "taken"),
    [
        (4, LEAVE_SECONDS + 1, 90, True),
        (4, LEAVE_SECONDS - 1, 90, False),
        (4, LEAVE_SECONDS + 1, 1, False),
        (3, 90, 90, False),
        (4, None, 90, False),
    ],
    ids=["inside", "not for long", "it has moved since", "in no collective", "not over"],
)
def test_stuck_is_who_stays_in_a_collective_of_a_generation_that_is_over(
    entered: int, over_for: float, moved_ago: int, taken: bool
) -> None:
    now = 1000 * SECOND
    stamp = Stamp(GenerationId(1, 1, 1), 5, Phase.STEPPING, entered, 3, now - moved_ago * SECOND)
    over = None if over_for is None else now - int(over_for * SECOND)
    assert (stuck(stamp, now, over) is not None) is taken


def test_a_generation_is_over_when_it_is_said_so_or_a_newer_one_is_known() -> None:
    generation = make_generation(1, ME)
    inside = MemberReport(member=ME, phase=Phase.STEPPING, generation=generation.id)
    assert not generation_is_over(inside, None)
    assert not generation_is_over(inside, orders(generation=generation, stage=Stage.RUNNING))
    assert generation_is_over(inside, orders(generation=generation, stage=Stage.OVER))
    newer = generation.model_copy(update={"id": generation.id._replace(n=generation.id.n + 1)})
    assert generation_is_over(inside, orders(generation=newer, stage=Stage.PROPOSED))
    assert not generation_is_over(inside.model_copy(update={"phase": Phase.IDLE}), orders(generation=newer, stage=Stage.PROPOSED))


def test_a_process_that_never_stamped_is_timed_from_its_birth() -> None:
    blank = Stamp(None, None, Phase.STARTING, 0, 0, 0)
    assert hung(blank, 10_000 * SECOND, 9_000 * SECOND) is None
    assert hung(blank, 10_000 * SECOND, 0) is not None


def test_lives_that_end_at_once_are_started_ever_more_slowly() -> None:
    delays: list[float] = []
    for _ in range(8):
        delays.append(restart_delay(delays[-1] if delays else None, 1.0))
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restart_delay(30.0, 11.0) == 0.0


@pytest.mark.parametrize(
    ("cgroup", "file", "text"),
    [
        ("0::/pod/container\n", "pod/container/memory.events", "low 0\noom 2\noom_kill 3\n"),
        ("0::/\n", "memory.events", "oom_kill 3\n"),
        ("9:cpu:/a\n4:memory:/a\n0::/\n", "memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ("4:memory:/elsewhere\n", "memory/memory.oom_control", "oom_kill 3\n"),
    ],
)
def test_oom_kills_are_read_from_either_kind_of_cgroup(tmp_path: Path, cgroup: str, file: str, text: str) -> None:
    own = tmp_path / "own"
    own.write_text(cgroup)
    path = tmp_path / "root" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert count_oom_kills(tmp_path / "root", own) == 3


def test_without_counters_no_oom_kill_is_seen(tmp_path: Path) -> None:
    assert count_oom_kills(tmp_path, tmp_path / "missing") == 0


def test_a_child_never_sees_the_agents_own_settings() -> None:
    environ = child_environment({"TRAININGJOB_TOKEN": "t", "TRAININGJOB_CONFIG": "c", "A": "1"}, {"TRAININGJOB_CHANNEL": "5"}, 7)
    assert environ == {"A": "1", "TRAININGJOB_CHANNEL": "5", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "7"}


@pytest.mark.parametrize(
    ("own", "seed", "hashes"),
    [({}, 0, "0"), ({}, 2**53, "0"), ({}, 2**32 + 5, "5"), ({"PYTHONHASHSEED": "random"}, 7, "random")],
    ids=["the default", "the highest", "more than Python takes", "the user's own"],
)
def test_texts_are_hashed_by_the_jobs_seed_unless_the_user_fixes_it(own: dict[str, str], seed: int, hashes: str) -> None:
    assert child_environment(own, {}, seed)["PYTHONHASHSEED"] == hashes


def saved(step: int, attempt: int = 1) -> Saved:
    save = SaveId(generation=GenerationId(attempt, 1, 1), step=step)
    return Saved(member=ME, save=save, shard=Shard(rank=0, name="00000.safetensors", bytes=1, blake3="0" * 64))


def test_a_shard_is_said_again_until_its_checkpoint_or_a_later_attempt() -> None:
    outbox = Outbox()
    for step in (2, 4, 6):
        outbox.saved(saved(step))
    outbox.hear(orders(make_generation(), checkpoint=4))
    assert [message.save.step for message in outbox.unacknowledged] == [6]
    outbox.hear(orders(make_generation(attempt=2)))
    assert outbox.unacknowledged == ()


@given(st.lists(st.integers(0, 5), max_size=20))
def test_the_highest_epoch_ever_heard_is_obeyed(epochs: list[int]) -> None:
    outbox = Outbox()
    for epoch in epochs:
        assert outbox.hear(orders(epoch=epoch)) == (epoch == max(epoch, outbox.epoch))
    assert outbox.epoch == max(epochs, default=0)


def test_ends_of_lives_are_told_for_a_while_and_the_present_comes_last() -> None:
    outbox = Outbox()
    end = MemberReport(member=ME, phase=Phase.GONE)
    now = MemberReport(member=ME._replace(life=1), phase=Phase.IDLE)
    outbox.report(end, 10.0)
    assert outbox.members([now], 11.0) == (end, now)
    assert outbox.members([end], 11.0) == (end,)
    assert outbox.members([now], 11.0 + GONE_SECONDS) == (now,)


def test_a_new_connection_hears_shards_position_and_leaving() -> None:
    outbox = Outbox()
    outbox.saved(saved(2))
    outbox.position = LogPosition(seq=3)
    outbox.leaving = True
    assert outbox.after_hello() == [saved(2), LogPosition(seq=3), Leaving()]
    assert not any(isinstance(message, Hello) for message in outbox.after_hello())


@pytest.mark.parametrize(
    ("phase", "stage", "rests"),
    [
        (Phase.IDLE, Stage.OVER, True),
        (Phase.STARTING, Stage.OVER, True),
        (Phase.GONE, Stage.OVER, True),
        (Phase.IDLE, Stage.PROPOSED, False),
        (Phase.IDLE, Stage.RUNNING, False),
        (Phase.FORMED, Stage.OVER, False),
        (Phase.STEPPING, Stage.OVER, False),
    ],
)
def test_an_agent_leaves_only_while_its_members_take_part_in_nothing(phase: Phase, stage: Stage, rests: bool) -> None:
    report = MemberReport(member=ME, phase=phase)
    assert at_rest([report], orders(make_generation(1, ME), stage)) is rests
    elsewhere = make_generation(1, MemberId(7, 0, 0, 0))
    assert at_rest([report], orders(elsewhere, Stage.RUNNING)) is (phase in (Phase.IDLE, Phase.STARTING, Phase.GONE))


def test_last_words_tell_a_stop_from_an_end() -> None:
    stop = Stop(request="r")
    ended = LogPosition(seq=9, done=True)
    assert closing(ExitCode.DONE, "", orders(done=True), None, 4).done
    stopped = closing(ExitCode.DONE, "", orders(done=True, stop=stop, checkpoint=4), None, 4)
    assert (stopped.done, stopped.suspended_at_step) == (False, 4)
    overtaken = closing(ExitCode.DONE, "", orders(done=True, stop=stop, checkpoint=4), ended, 4)
    assert (overtaken.done, overtaken.suspended_at_step) == (True, None)
    assert (overtaken.log, stopped.log) == (ended, None)
    assert not closing(ExitCode.DONE, "left", orders(), None, 4).done


def test_of_last_words_that_are_too_long_first_the_log_is_left_out(tmp_path: Path) -> None:
    log = LogPosition(seq=9, done=True, exported="s3://" + "a" * 4000)
    leave_words(Termination(code=0, message="m" * 1024, done=True, log=log), str(tmp_path / "words"))
    assert Termination.model_validate_json((tmp_path / "words").read_text()) == Termination(code=0, message="m" * 1024, done=True)
    leave_words(Termination(code=0, message="ß" * 4000), str(tmp_path / "words"))
    assert Termination.model_validate_json((tmp_path / "words").read_text()).message == "ß" * 2000


@pytest.mark.parametrize(("module", "absent"), [("trainingjob_agent.__main__", "torch"), ("trainingjob_agent.stamp", "aiohttp")])
def test_the_agent_loads_no_torch_and_the_stamp_page_no_agent(module: str, absent: str) -> None:
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
