import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.resource import TrainingJob
from trainingjob_api.status import Condition, Display, FailureRecord, Status
from trainingjob_api.storage.entries import Checkpoint, Claim, Done, Drop, Quarantine, Rollback
from trainingjob_api.storage.log import History
from trainingjob_cli.rendering import tables
from trainingjob_cli.rendering.live import duration, line, number, panel, view_of
from trainingjob_cli.rendering.story import folded
from trainingjob_cli.rendering.watching import Watched
from trainingjob_operator.controllers.training_job.state import Observed

TASK = {"task": {"class": "a:B"}, "optimizer": {"name": "SGD", "learningRate": 0.1}, "globalBatchSize": 128, "epochs": 1}
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def make_job(status: Status | None = None, **spec: Any) -> TrainingJob:
    return TrainingJob.model_validate(
        {
            "metadata": {"name": "digits", "uid": "u", "creationTimestamp": NOW},
            "spec": {
                "workers": {"replicas": 3},
                "training": {"script": {"command": ["python", "t.py"]}},
                "checkpoint": {"storage": {"uri": "file:///a"}},
                **spec,
            },
            "status": (status or Status()).to_object(),
        }
    )


def text(renderable: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=140, highlight=False).print(renderable)
    return out.getvalue()


def make_report(**changes: Any) -> Report:
    fields = {"epoch": 1, "step": 50, "total_steps": 200, "loss": 0.5, "samples_per_second": 1280.0, "training_seconds": 10.0}
    return Report(**{**fields, "log": LogPosition(seq=3, checkpoint=40), **changes})


def test_the_view_takes_the_newest_report_before_the_status() -> None:
    status = Status(phase="Running", step=10, total_steps=200, loss=2.0, ready_workers=3, restarts=1, goodput="97%")
    seen = Observed(job=make_job(status, training=TASK), report=make_report(), reporting=True)
    view = view_of(seen, status)
    assert line(view) == (
        "digits Running  workers 3/3  step 50/200 25%  loss 0.5000  1,280 samples/s  ETA 0:15  checkpoint 40  restarts 1  goodput 97%"
    )
    assert "50/200 25%" in text(panel(view))
    stale = view_of(replace(seen, reporting=False), status)
    assert (stale.step, stale.loss, stale.seconds_left) == (10, 2.0, None)


def test_the_view_of_a_script_claims_no_steps_and_no_checkpoints() -> None:
    status = Status(phase="Running", ready_workers=3, restarts=1, goodput="97%")
    seen = Observed(job=make_job(status), report=make_report(step=0, total_steps=0, loss=None), reporting=True)
    assert line(view_of(seen, status)) == "digits Running  workers 3/3  restarts 1"
    assert text(panel(view_of(seen, status))).split() == ["digits", "Running", "workers", "3/3", "restarts", "1"]


def test_of_a_job_that_is_not_heard_nothing_is_shown_that_nobody_reports() -> None:
    status = Status(phase="Unknown", message="nothing was heard", step=10, total_steps=200, loss=2.0, goodput="97%")
    shown = line(view_of(Observed(job=make_job(status, training=TASK), report=make_report(samples_per_second=9.0)), status))
    assert shown.startswith("digits Unknown  workers ?/3  step 10/200 5%  loss 2.0000  - samples/s  ETA -")
    assert shown.endswith("(nothing was heard)")


def test_a_step_is_never_shown_behind_the_checkpoint_that_was_made_of_it() -> None:
    seen = Observed(job=make_job(training=TASK), report=make_report(step=825, log=LogPosition(seq=3, checkpoint=850)), reporting=True)
    assert view_of(seen, Status(phase="Running")).step == 850


def test_a_job_of_which_nothing_is_known_has_a_view() -> None:
    view = view_of(Observed(job=make_job(training=TASK)), Status(message="waiting for workers"))
    assert line(view).endswith("goodput -  (waiting for workers)")
    assert "waiting for workers" in text(panel(view))


@pytest.mark.parametrize(("seconds", "said"), [(None, "-"), (0.4, "0:00"), (75, "1:15"), (3725, "1:02:05"), (90000, "25:00:00")], ids=str)
def test_times_are_said_shortly(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("value", "said"), [(None, "-"), (0.08312, "0.0831"), (123456.0, "1.235e+05"), (0.0000312, "3.12e-05")], ids=str)
def test_losses_are_said_shortly(value: float | None, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5s"), (119, "119s"), (720, "12m"), (7200, "2h"), (86400, "1d"), (4 * 86400, "4d")], ids=str
)
def test_ages_are_kubectls(seconds: int, said: str) -> None:
    assert tables.age(NOW, NOW + timedelta(seconds=seconds)) == said


def test_jobs_have_kubectls_columns() -> None:
    status = Status(
        phase="Running",
        display=Display(workers="3/3", step="50/200", progress="25%"),
        loss=0.0831,
        checkpoint=40,
        restarts=1,
        goodput="98%",
    )
    head, row = text(tables.jobs_table([make_job(status)], NOW + timedelta(minutes=12))).splitlines()
    assert head.split() == ["NAME", "PHASE", "WORKERS", "STEP", "PROGRESS", "LOSS", "CHECKPOINT", "RESTARTS", "GOODPUT", "AGE"]
    assert row.split() == ["digits", "Running", "3/3", "50/200", "25%", "0.0831", "40", "1", "98%", "12m"]


def test_the_result_tells_metrics_costs_and_what_to_do_next() -> None:
    status = Status(
        step=200,
        total_steps=200,
        metrics={"f1": 0.97, "accuracy": 0.975},
        goodput="98%",
        restarts=2,
        checkpoints=(150, 200),
        model="file:///a/export/x",
        completion_time=NOW + timedelta(seconds=75),
    )
    said = text(tables.result(make_job(status)))
    for part in ("accuracy (held-out)", "0.9750", "F1 (held-out)", "200 of 200", "1:15", "98%", "150, 200", "file:///a/export/x"):
        assert part in said
    assert said.index("accuracy") < said.index("F1")
    assert "trainingjob predict digits" in said
    assert "trainingjob delete digits" in said


def test_a_failure_names_the_cause_the_first_worker_and_its_last_lines() -> None:
    status = Status(
        conditions=(Condition(type="Failed", status="True", reason="TooManyFailures", message="6 failures; the last: worker 2: SIGKILL"),),
        last_failures=(FailureRecord(worker=1, cause="Signal", message="Signal: SIGSEGV", step=3), FailureRecord(worker=2)),
    )
    said = tables.failure(make_job(status), ["one", "two"])
    assert "has failed: 6 failures; the last: worker 2: SIGKILL" in said
    assert "first failing worker: 1 at step 3: Signal: SIGSEGV" in said
    assert "  one\n  two\n" in said


def test_a_failure_is_told_once() -> None:
    status = Status(
        conditions=(
            Condition(type="Failed", status="True", reason="UserError", message="worker 1: spec.training: no such class; mend it"),
        ),
        last_failures=(FailureRecord(worker=1, cause="UserError", message="UserError: spec.training: no such…", step=3),),
    )
    assert tables.failure(make_job(status), []).count("no such") == 1


def test_checkpoints_are_told_as_the_log_has_them() -> None:
    def save(seq: int, step: int) -> Checkpoint:
        return Checkpoint(seq=seq, nonce=str(seq), time=0.0, step=step, save=f"{step:08d}-a", manifest_sha256="0" * 64, bytes=2048)

    history = History().extend(
        [
            Claim(seq=0, nonce="u", time=0.0, owner_uid="u", owner_name="default/digits"),
            *(save(seq, step) for seq, step in ((1, 10), (2, 20), (3, 30), (4, 40))),
            Rollback(seq=5, nonce="r", time=0.0, step=30, request="r"),
            Quarantine(seq=6, nonce="q", time=0.0, step=30, save="00000030-a"),
            Drop(seq=7, nonce="d", time=0.0, saves=("00000010-a",)),
            Done(seq=8, nonce="x", time=0.0),
        ]
    )
    said = text(tables.checkpoints_table(history)).splitlines()
    assert [(row.split()[0], row.split()[4]) for row in said[1:-1]] == [("20", "visible"), ("30", "quarantined"), ("40", "hidden")]
    assert said[-1] == "1 older checkpoint deleted (step 10); spec.checkpoint.keep says how many stay"
    assert "2.0 KiB" in said[1]


def test_a_description_has_conditions_and_events() -> None:
    status = Status(phase="Running", conditions=(Condition(type="Ready", status="True", reason="Training", message="all train"),))
    events = folded([make_event(0, "WorkerLost", "worker 1: [killed]", kind="Warning")])
    said = text(tables.description(make_job(status), events, NOW + timedelta(seconds=75)))
    for part in ("Ready", "all train", "75s", "WorkerLost", "worker 1: [killed]", "file:///a"):
        assert part in said


def make_event(second: int, reason: str, message: str, kind: str = "Normal") -> dict[str, str]:
    return {"time": (NOW + timedelta(seconds=second)).isoformat(), "type": kind, "reason": reason, "message": message}


def test_what_keeps_happening_is_one_line_that_counts_and_leaves_room_for_the_rest() -> None:
    saves = [make_event(2 * number, "CheckpointCommitted", f"checkpoint {number} is in storage") for number in range(200)]
    lost = [make_event(50, "WorkerLost", "worker 1: killed"), make_event(70, "WorkerLost", "worker 1: killed")]
    story = folded(sorted([*saves, *lost, make_event(60, "Recovered", "2 of 3 workers train")], key=lambda event: event["time"]))
    assert [(told.reason, told.count) for told in story] == [("Recovered", 1), ("WorkerLost", 2), ("CheckpointCommitted", 200)]
    assert story[-1].message == "checkpoint 199 is in storage"
    said = text(tables.description(make_job(), story, NOW + timedelta(seconds=400)))
    assert "2s (x200 over 6m)" in said.replace("   ", " ")


def test_a_watched_job_is_shown_again_when_something_but_its_age_has_changed() -> None:
    watched = Watched(["NAME", "PHASE", "AGE"], 2)
    assert watched.lines([]) == []
    assert watched.lines([("a", ["digits", "Running", "1s"])]) == ["NAME     PHASE     AGE", "digits   Running   1s"]
    assert watched.lines([("a", ["digits", "Running", "2s"])]) == []
    assert watched.lines([("a", ["digits", "Running", "2s"]), ("b", ["other", "Pending", "0s"])]) == ["other    Pending   0s"]
    assert watched.lines([("a", ["digits", "Succeeded", "3s"])]) == ["digits   Succeeded   3s"]


def test_many_deleted_checkpoints_are_a_count() -> None:
    steps = range(50, 9050, 50)
    saves = [f"{step:08d}-a" for step in steps]
    entries = [
        Claim(seq=0, nonce="u", time=0.0, owner_uid="u", owner_name="default/digits"),
        *(
            Checkpoint(seq=seq, nonce=save, time=0.0, step=step, save=save, manifest_sha256="0" * 64, bytes=2048)
            for seq, (step, save) in enumerate(zip(steps, saves, strict=True), 1)
        ),
        Drop(seq=len(saves) + 1, nonce="d", time=0.0, saves=(*saves, "00009100-void")),
    ]
    said = text(tables.checkpoints_table(History().extend(entries)))
    assert "180 older checkpoints deleted (steps 50 to 9000)" in said
    assert len(said.splitlines()) == 2
