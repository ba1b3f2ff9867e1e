"""A checkpoint belongs to its data, batch and parameters: what has changed is told, and refused unless that was declared."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from trainingjob_api.contract.runtime import ExitCode
from trainingjob_api.storage.manifest import Position
from trainingjob_trainer.checkpoint.identity import KEY, changes, identity
from unit.trainer.conftest import make_spec
from unit.trainer.hub import Hub

BEFORE = identity("a:B", {"points": 192, "noise": 0.1}, (192, 24, 24), 32, 7)


def at(made_of: object) -> Position:
    return Position(step=75, extra={KEY: made_of} if made_of is not None else {})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (BEFORE, ""),
        (identity("a:B", {"points": 192, "noise": 0.1}, (240, 24, 24), 32, 7), "192 training samples, now 240"),
        (identity("a:B", {"points": 192, "noise": 0.1}, (192, 30, 24), 32, 7), "24 validation samples, now 30"),
        (identity("a:B", {"points": 192, "noise": 0.1}, (192, 24, 24), 64, 7), "spec.training.globalBatchSize 32, now 64"),
        (identity("a:B", {"points": 192, "noise": 0.1}, (192, 24, 24), 32, 8), "spec.training.seed 7, now 8"),
        (identity("a:C", {"points": 192, "noise": 0.1}, (192, 24, 24), 32, 7), "spec.training.task.class a:B, now a:C"),
        (identity("a:B", {"points": 240, "noise": 0.1}, (192, 24, 24), 32, 7), "spec.training.task.parameters.points 192, now 240"),
        (identity("a:B", {"points": 192, "noise": 0.1, "new": 1}, (192, 24, 24), 32, 7), ""),
        (
            identity("a:C", {"points": 240, "noise": 0.2}, (240, 24, 24), 32, 7),
            "192 training samples, now 240, spec.training.task.class a:B, now a:C, spec.training.task.parameters.noise 0.1, now 0.2"
            " and 1 more",
        ),
    ],
    ids=["same", "data", "validation", "batch", "seed", "class", "parameter", "a-parameter-more", "many"],
)
def test_what_has_changed_is_named_with_both_numbers(now: dict, told: str) -> None:
    assert changes(at(BEFORE), now) == told


@pytest.mark.parametrize("made_of", [None, [], "text", 7])
def test_a_checkpoint_that_does_not_say_what_it_was_made_of_is_taken(made_of: object) -> None:
    assert changes(at(made_of), BEFORE) == ""


def test_a_long_parameter_is_compared_by_its_fingerprint() -> None:
    long, other = identity("a:B", {"x": "y" * 5000}, (1, 1, 1), 1, 1), identity("a:B", {"x": "z" * 5000}, (1, 1, 1), 1, 1)
    assert len(str(long)) < 1000
    assert changes(at(long), other).startswith("spec.training.task.parameters.x fingerprint ")
    assert changes(at(long), long) == ""


WITH_SETS = """
import json
from pydantic import BaseModel
from trainingjob_trainer.checkpoint.identity import as_json

class Part(BaseModel, frozen=True):
    name: str

class Parameters(BaseModel):
    tags: set[str] = {"one", "two", "three", "four", "five"}
    nested: dict[str, list[frozenset[str]]] = {"a": [frozenset("xyz"), frozenset("wvu")]}
    parts: frozenset[Part] = frozenset({Part(name="left"), Part(name="middle"), Part(name="right")})
    listed: list[str] = ["two", "one"]

print(json.dumps(as_json(Parameters(), {})))
"""


def test_a_set_is_the_same_in_every_process() -> None:
    # Its order hangs on the process's hash seed: the ranks of a job seemed to have other parameters than rank 0.
    told = {
        subprocess.run(
            [sys.executable, "-c", WITH_SETS], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert [json.loads(words) for words in told] == [
        {
            "tags": ["five", "four", "one", "three", "two"],
            "nested": {"a": [["x", "y", "z"], ["u", "v", "w"]]},
            "parts": [{"name": "left"}, {"name": "middle"}, {"name": "right"}],
            "listed": ["two", "one"],
        }
    ]


def resumed(make_hub, spec: dict, *, old: bool = False) -> Hub:
    """A job that starts from the first checkpoint of a job with 60 samples in batches of 16; `old`: of a release that kept less."""
    first = make_hub(make_spec(), 1)
    first.start()
    first.wait_done()
    hub = make_hub(spec, 1)
    hub.saves, hub.restore_from = dict(first.saves), first.committed[0]
    if old:
        save = hub.saves[hub.restore_from]
        data, snapshot = save.shards[0]
        position = Position.model_validate_json(snapshot.position)
        bare = position.model_copy(update={"extra": {name: value for name, value in position.extra.items() if name != KEY}})
        save.shards[0] = (data, snapshot.model_copy(update={"position": bare.model_dump_json()}))
    hub.start()
    return hub


def place(step: int, steps_per_epoch: int) -> str:
    """Where training goes on after `step`. The first checkpoint is that of step 4, or of a later one if there was no buffer yet."""
    return f"step {step + 1} is step {step % steps_per_epoch + 1} of {steps_per_epoch} in epoch {step // steps_per_epoch + 1}"


def test_data_that_grew_is_refused_with_both_numbers_and_the_fix(make_hub):
    hub = resumed(make_hub, make_spec({"samples": 80}))
    hub.wait(lambda: bool(hub.user_errors), "told")
    assert hub.zygote.ended(hub.pids[0]) == ExitCode.USER_ERROR
    (words,) = hub.user_errors
    step = hub.restore_from.step
    assert words.startswith(f"spec.checkpoint.allowChanges: the checkpoint of step {step} was made with 60 training samples, now 80")
    assert words.endswith(f"set allowChanges: true to go on: {place(step, 5)} then")


def test_another_batch_is_refused(make_hub):
    hub = resumed(make_hub, make_spec(globalBatchSize=20))
    hub.wait(lambda: bool(hub.user_errors), "told")
    assert "spec.training.globalBatchSize 16, now 20" in hub.user_errors[0]
    assert place(hub.restore_from.step, 3) in hub.user_errors[0]


def test_a_change_that_is_declared_is_told_and_trained_on(make_hub):
    hub = resumed(make_hub, make_spec({"samples": 80}, {"everySteps": 4, "allowChanges": True}))
    hub.wait_done()
    assert hub.committed[-1].step == 2 * 5
    assert "was made with 60 training samples, now 80" in hub.log(0)
    assert f"it goes on: {place(hub.restore_from.step, 5)}" in hub.log(0)


def test_a_checkpoint_of_an_older_release_is_taken(make_hub):
    hub = resumed(make_hub, make_spec({"samples": 80}), old=True)
    hub.wait_done()
    assert not hub.user_errors


def test_a_newcomer_that_sees_other_data_than_those_who_train_is_refused_with_both_numbers(make_hub):
    hub = make_hub(make_spec({"slow": 0.001}, steps=4000), 2)
    hub.start()
    hub.wait_step(0, 5)
    hub.kill(1)
    hub.wait(lambda: hub.trainees[1].gone, "the fault fired")
    hub.spec = make_spec({"slow": 0.001, "samples": 80}, steps=4000)
    hub.start(1)
    hub.wait(lambda: len(hub.user_errors) == 2, "told by both")
    assert all("spec.training.task: rank 0 has 60 training samples, rank 1 has 80" in words for words in hub.user_errors)


def test_parameters_that_json_cannot_express_are_those_of_the_manifest(make_hub):
    spec = make_spec({"samples": 48})
    spec["training"]["task"]["class"] = "unit.trainer.toy_tasks:Opaque"
    hub = make_hub(spec, 2)
    hub.start()
    hub.wait_done()
    _, snapshot = hub.saves[hub.committed[-1]].shards[0]
    kept = Position.model_validate_json(snapshot.position).extra[KEY]
    assert {name: value for name, value in kept.items() if "parameters" in name} == {"spec.training.task.parameters.samples": "48"}
