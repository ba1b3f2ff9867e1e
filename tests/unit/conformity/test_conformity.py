"""Every specimen of the zoo is trained as plain torch trains it, by any number of workers, killed and resumed; or it is refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainingjob_api.contract.runtime import ExitCode
from trainingjob_trainer.task import load_task
from unit.conformity.plain import train
from unit.conformity.specimen import Specimen
from unit.conformity.zoo import ZOO
from unit.trainer.hub import Hub
from unit.trainer.processes import Zygote

BATCH, EPOCHS, SAVE_EVERY, STEPS = 16, 2, 3, 6
LANES = 3


def make_spec(specimen: Specimen, parameters: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """44 samples: an epoch is two batches of 16 and one of 12."""
    return {
        "workers": {"replicas": 3},
        "training": {
            "task": {"class": specimen.task, "parameters": {"name": specimen.name, **(parameters or {})}},
            "optimizer": dict(specimen.optimizer),
            "globalBatchSize": BATCH,
            "epochs": EPOCHS,
            "seed": 7,
            **specimen.training,
            **training,
        },
        "checkpoint": {"storage": {"uri": "file:///nowhere"}, "everySteps": SAVE_EVERY},
    }


def finish(hub: Hub) -> dict[str, Tensor]:
    hub.wait_done()
    assert hub.committed[-1].step == STEPS
    return {name: tensor for name, tensor in hub.final().items() if name.startswith("model/")}


def same(specimen: Specimen, what: str, got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert {name for name in wanted if wanted[name].numel()} == got.keys()
    parameters = dict(specimen.model().named_parameters())
    for name in got:
        if specimen.buffers or name.removeprefix("model/") in parameters:
            torch.testing.assert_close(
                got[name], wanted[name], rtol=specimen.tolerance, atol=specimen.tolerance, equal_nan=False,
                msg=lambda text, name=name: f"{specimen.name}, {what}: {name}: {text}",
            )  # fmt: skip


@pytest.mark.parametrize("name", [name for name, specimen in ZOO.items() if not specimen.refused and not specimen.brief])
def test_any_number_of_workers_trains_as_plain_torch_does(zygote: Zygote, tmp_path: Path, name: str):
    specimen = ZOO[name]
    spec = make_spec(specimen)
    task = load_task(specimen.task, {"name": name})
    with torch.sparse.check_sparse_tensor_invariants(True):  # torch's own rule for sparse gradients warns without a word on this
        wanted = {parts: train(task, spec["training"], parts) for parts in ((1, 2, 3) if specimen.coupled else (1,))}
    with closing(Hub(zygote, spec, 1)) as hub:
        hub.start()
        same(specimen, "one worker", finish(hub), wanted[1])
    with closing(Hub(zygote, make_spec(specimen, {"marker": str(tmp_path / "died"), "kill_at": 3}), 2)) as hub:
        hub.start()
        hub.wait(lambda: any(trainee.gone for trainee in hub.trainees.values()), "the fault fired")
        hub.start(next(slot for slot, trainee in hub.trainees.items() if trainee.gone))
        same(specimen, "two workers, one killed", finish(hub), wanted[2 if specimen.coupled else 1])
        assert len(hub.generations) == 2
    with closing(Hub(zygote, spec, 3)) as hub:
        hub.start()
        straight = finish(hub)
        same(specimen, "three workers", straight, wanted[3 if specimen.coupled else 1])
        assert ("computing the step again" in hub.log(1)) == specimen.again
        middle = hub.committed[0]
        save = hub.saves[middle]
    with closing(Hub(zygote, spec, 3)) as hub:
        hub.saves, hub.restore_from = {middle: save}, middle
        hub.start()
        resumed = finish(hub)
        assert [save.step for save in hub.committed] == [STEPS]
    assert all(torch.equal(resumed[each], straight[each]) for each in straight), "a resumed job ends as one that was not interrupted"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch's compiler, about torch's own code
@pytest.mark.parametrize("name", [name for name, specimen in ZOO.items() if specimen.brief])
def test_two_workers_train_as_plain_torch_does(zygote: Zygote, name: str):
    specimen = ZOO[name]
    spec = make_spec(specimen)
    with torch.compiler.set_stance("force_eager"):
        wanted = train(load_task(specimen.task, {"name": name}), spec["training"])
    with closing(Hub(zygote, spec, 2)) as hub:
        hub.start()
        hub.wait(lambda: hub.orders.done, "done", timeout=120)
        same(specimen, "two workers", finish(hub), wanted)


@pytest.mark.parametrize("name", [name for name, specimen in ZOO.items() if specimen.deterministic])
def test_deterministic_reduction_trains_as_plain_torch_does(zygote: Zygote, name: str):
    specimen = ZOO[name]
    spec = make_spec(specimen, reduction="Deterministic", lanes=LANES)
    wanted = train(load_task(specimen.task, {"name": name}), spec["training"], LANES if specimen.coupled else 1)
    with closing(Hub(zygote, spec, 2)) as hub:
        hub.start()
        same(specimen, "deterministic", finish(hub), wanted)


@pytest.mark.parametrize("name", ["teacher follows student", "unused head", "batch norm"])
def test_a_worker_without_a_sample_stays_what_the_others_are(zygote: Zygote, name: str):
    specimen = ZOO[name]
    spec = make_spec(specimen, reduction="Deterministic", lanes=1)
    wanted = train(load_task(specimen.task, {"name": name}), spec["training"])
    with closing(Hub(zygote, spec, 2)) as hub:
        hub.start()
        same(specimen, "one lane on two workers", finish(hub), wanted)  # half of a checkpoint is the second worker's


@pytest.mark.parametrize("name", [name for name, specimen in ZOO.items() if specimen.refused])
def test_what_cannot_be_trained_is_refused_before_the_first_step(zygote: Zygote, name: str):
    specimen = ZOO[name]
    with closing(Hub(zygote, make_spec(specimen), specimen.workers)) as hub:
        hub.start()
        hub.wait(lambda: bool(hub.user_errors), "refused")
        assert specimen.refused in hub.user_errors[0]
        assert hub.user_errors[0].startswith("spec.")
        assert zygote.ended(hub.pids[0]) == ExitCode.USER_ERROR
        assert (hub.trainees[0].standing is None) == (not specimen.late), "it never trained"
