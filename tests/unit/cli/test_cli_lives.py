from pathlib import Path

import pytest

from trainingjob_api.contract.messages import MemberId
from trainingjob_cli.archive import Output, newest
from trainingjob_cli.context import Mistake
from trainingjob_cli.inspect import selected
from trainingjob_cli.probes.lives import Tails, for_people, lives
from trainingjob_operator.controllers.training_job.state import job_key
from trainingjob_operator.local.folder import JobFolder
from unit.cli.test_cli_rendering import make_job

FIRST, SECOND = MemberId(0, 0, 0, 0), MemberId(1, 2, 0, 3)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path, job_key("default", "digits"))


def write(folder: JobFolder, member: MemberId, text: str, mode: str = "a") -> Path:
    name = f"digits-ab12c-worker-{member.worker}-{member.incarnation}.scratch"
    path = folder.pods / name / "runs" / str(member.worker) / str(member.incarnation) / f"{member.process}.{member.life}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.write(text)
    return path


def tails(folder: JobFolder, limit: int | None = None) -> Tails:
    return Tails(folder, lambda member: True, limit)


def test_lines_come_when_they_are_whole_and_once(folder: JobFolder) -> None:
    reader = tails(folder)
    assert list(reader.read()) == []
    write(folder, FIRST, "one\ntw")
    write(folder, SECOND, "a\n")
    assert list(reader.read()) == [(FIRST, ["one"]), (SECOND, ["a"])]
    write(folder, FIRST, "o\nthree")
    assert list(reader.read()) == [(FIRST, ["two"])]
    assert list(reader.read(last=True)) == [(FIRST, ["three"])]
    assert list(reader.read(last=True)) == []
    assert list(lives(folder)) == [FIRST, SECOND]


def test_what_was_there_is_skipped_and_a_later_life_is_not(folder: JobFolder) -> None:
    write(folder, FIRST, "old\n")
    reader = tails(folder).skip()
    write(folder, FIRST, "new\n")
    write(folder, SECOND, "all\n")
    assert list(reader.read()) == [(FIRST, ["new"]), (SECOND, ["all"])]


def test_a_file_that_was_cut_at_its_front_is_not_shown_again(folder: JobFolder) -> None:
    reader = tails(folder)
    write(folder, FIRST, "x\n" * 100)
    list(reader.read())
    write(folder, FIRST, "x\n" * 10, "w")
    assert list(reader.read()) == []
    write(folder, FIRST, "more\n")
    assert list(reader.read()) == [(FIRST, ["more"])]


def test_of_a_flood_the_newest_is_shown_and_the_rest_is_counted(folder: JobFolder) -> None:
    reader = tails(folder, limit=10)
    write(folder, FIRST, "".join(f"line {number}\n" for number in range(10)))
    ((_, lines),) = reader.read()
    assert lines == ["… 60 bytes are left out here; `trainingjob logs` has them", "line 9"]


def test_only_the_wanted_are_read(folder: JobFolder) -> None:
    write(folder, FIRST, "a\n")
    write(folder, SECOND, "b\n")
    assert list(Tails(folder, lambda member: member.worker == 1).read()) == [(SECOND, ["b"])]


def test_a_person_reads_the_users_lines_and_the_measurements() -> None:
    stamp = "2026-11-29 12:34:28,418"
    printed = [
        "epoch 1",
        f"{stamp} INFO trainingjob_trainer.loop: step 15: on the validation data accuracy 0.9",
        f"{stamp} INFO trainingjob_trainer.recovery: generation a1e1n1: rank 0 of 2",
        f"{stamp} WARNING trainingjob_trainer.recovery: left",
        f"{stamp} INFO mine: hello",
        "agent: the process ended with 0",
    ]
    assert for_people(printed) == ["epoch 1", "step 15: on the validation data accuracy 0.9", printed[3], printed[4]]


def test_a_mistake_is_left_to_its_event_and_a_crash_is_shown_with_its_traceback() -> None:
    stamp, trace = "2026-11-29 12:34:28,418", ["Traceback (most recent call last):", "  File x", "ValueError: no"]
    mistake = [f"{stamp} ERROR trainingjob_trainer: spec.training.task.class: there is no module", *trace]
    crash = [f"{stamp} ERROR trainingjob_trainer: the training process failed", *trace]
    assert for_people([*mistake, f"{stamp} INFO mine: x", "y"]) == [f"{stamp} INFO mine: x", "y"]
    assert for_people(["before", *mistake, "agent: the process ended with 64", "after"]) == ["before", "after"]
    assert for_people(crash) == crash


def test_the_last_lines_of_a_process_are_taken_from_as_many_lives_as_it_takes() -> None:
    again = FIRST._replace(life=1)
    found = [Output(FIRST, "1\n2\n3\n"), Output(again, "4\n"), Output(SECOND, "a\nb\n")]
    assert newest(found, 2) == [Output(FIRST, "3\n"), Output(again, "4\n"), Output(SECOND, "a\nb\n")]
    assert newest(found, 1) == [Output(again, "4\n"), Output(SECOND, "b\n")]
    assert newest(found, 0) == []


@pytest.mark.parametrize(
    ("worker", "rank", "expected"),
    [(None, None, {(0, 0), (0, 1), (1, 0), (1, 1)}), (1, None, {(1, 0), (1, 1)}), (None, 2, {(1, 0)}), (None, 1, {(0, 1)})],
    ids=["all", "a worker", "rank 2", "rank 1"],
)
def test_a_worker_or_a_rank_is_selected(worker: int | None, rank: int | None, expected: set[tuple[int, int]]) -> None:
    job = make_job(workers={"replicas": 2, "processesPerWorker": 2})
    wanted = selected(job, set(), worker, rank)
    assert {(index, process) for index in (0, 1) for process in (0, 1) if wanted(MemberId(index, 0, process, 5))} == expected


def test_a_worker_or_rank_that_does_not_exist_is_a_mistake_and_one_that_was_is_not() -> None:
    with pytest.raises(Mistake, match="--worker 3: there is no such worker; workers are 0 to 2"):
        selected(make_job(), set(), 3, None)
    with pytest.raises(Mistake, match="--rank 3: there is no such rank; ranks are 0 to 2"):
        selected(make_job(), set(), None, 3)
    assert selected(make_job(), {3}, 3, None)(MemberId(3, 0, 0, 0))
