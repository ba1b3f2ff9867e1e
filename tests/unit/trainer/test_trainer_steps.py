"""What a step computes does not depend on how many ranks compute it, and what is wrong with a job is said."""

from __future__ import annotations

import pytest
import torch

from trainingjob_api.contract.runtime import ExitCode
from trainingjob_trainer.strategy.order import SampleOrder
from unit.trainer.conftest import make_spec
from unit.trainer.toy_tasks import Toy


def test_uneven_shares_give_the_gradients_of_one_process(make_hub):
    # 261 samples: one batch of 256 over 3 ranks (86, 85, 85), then a tail of 5 (2, 2, 1), then the same again.
    spec = make_spec({"samples": 261}, optimizer={"name": "SGD", "learningRate": 0.5}, globalBatchSize=256)
    finals = []
    for world in (1, 3):
        hub = make_hub(spec, world)
        hub.start()
        hub.wait_done()
        finals.append(hub.final())
    one, three = finals
    assert hub.committed[-1].step == 4
    for name in one:
        assert torch.allclose(three[name], one[name], rtol=1e-5, atol=1e-6), name
    assert any(not torch.equal(three[name], one[name]) for name in one), "equal bits would mean that nothing was shared out"


def test_metrics_count_every_held_out_sample_once(make_hub):
    hub = make_hub(make_spec({"held_out": 20}))
    hub.start()
    hub.wait_done()
    final = {name.removeprefix("model/"): tensor for name, tensor in hub.final().items() if name.startswith("model/")}
    task = Toy({"held_out": 20})
    splits = task.splits(7, 0.1, 0.1)
    model = task.model()
    model.load_state_dict(final)
    model.eval()
    evaluation = task.evaluation()
    wanted = evaluation.result(evaluation.update(model, splits.test.batch(torch.arange(20))))
    _, export = hub.exported[0]
    assert export.result == pytest.approx(wanted)
    assert export.result["accuracy"] * 20 == pytest.approx(round(export.result["accuracy"] * 20))


def test_a_metric_that_is_not_finite_is_reported_and_logged_once(make_hub):
    spec = make_spec()
    spec["training"]["task"]["class"] = "unit.trainer.mistaken_tasks:LossIsNotANumber"
    hub = make_hub(spec, 2)
    hub.start()
    hub.wait_done()
    assert "loss" not in hub.exported[0][1].result
    assert hub.log(0).count("on the validation data loss is nan, and is left out; check these samples") == 1
    assert hub.log(0).count("and is left out") == 1
    words = [trainee.paces[-1].not_finite for trainee in hub.ever]
    assert words == ["loss is nan on the test data, at step 8"] * 2


def test_early_stopping_ends_the_job_before_its_last_step(make_hub):
    stopping = {"metric": "loss", "patience": 2, "minimumDelta": 100.0}
    hub = make_hub(make_spec(epochs=50, earlyStopping=stopping))
    hub.start()
    hub.wait_done()
    assert hub.committed[-1].step == 3 * 4  # the first evaluation is the best; two more bring no gain
    manifest = hub.saves[hub.committed[-1]].manifest(hub.committed[-1])
    assert manifest.position.early_stopping.stopped


@pytest.mark.parametrize("what", ["poison", "weightless"])
def test_a_loss_or_a_weight_that_is_not_finite_fails_the_job_and_names_the_step(make_hub, what):
    hub = make_hub(make_spec({what: 3}))
    hub.start()
    hub.wait(lambda: len(hub.user_errors) == 3, "told by all")
    assert all(message.startswith("spec.training: the loss or a gradient of step ") for message in hub.user_errors)
    assert [hub.zygote.ended(pid) for pid in hub.pids] == [ExitCode.USER_ERROR] * 3


@pytest.mark.parametrize("what", ["poison", "weightless"])
def test_a_loss_or_a_weight_that_is_not_finite_may_be_passed_over(make_hub, what):
    hub = make_hub({**make_spec({what: 3, "normalise": True}), "divergence": {"onNonFinite": "Ignore"}})
    hub.start()
    hub.wait_done()
    manifest = hub.saves[hub.committed[-1]].manifest(hub.committed[-1])
    assert manifest.position.finite
    assert not manifest.position.clean
    assert all(bool(torch.isfinite(tensor).all()) for tensor in hub.final().values())


@pytest.mark.parametrize("step", [0, 3])
def test_a_step_that_is_passed_over_leaves_no_move_of_a_parameter_behind(make_hub, step):
    poison = int(SampleOrder(60, 16, 7).batch(step)[0])
    spec = {**make_spec({"poison": poison}), "workers": {"replicas": 1}, "divergence": {"onNonFinite": "Ignore"}}
    spec["training"]["task"]["class"] = "unit.trainer.toy_tasks:MovesWherePoisoned"
    hub = make_hub(spec, 1)
    hub.start()
    hub.wait_done()
    assert hub.final()["model/unused"].tolist() == [1.0] * 5
    assert len(hub.generations) == (1 if step == 0 else 2), "a later first move asks for a state"


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"class": "unit.trainer.nothing:Toy"}, "spec.training.task.class: there is no module"),
        (
            {"class": "unit.trainer.toy_tasks:Toy", "parameters": {"colour": 1}},
            "spec.training.task.parameters.colour: Toy has no such parameter",
        ),
        (
            {"class": "unit.trainer.toy_tasks:Toy", "parameters": {"samples": 0}},
            "spec.training.task.class: the task has no training samples",
        ),
    ],
    ids=["class", "parameter", "data"],
)
def test_a_users_mistake_is_named_and_not_retried(make_hub, task, says):
    spec = make_spec()
    spec["training"]["task"] = task
    hub = make_hub(spec, 1)
    hub.start()
    hub.wait(lambda: bool(hub.user_errors), "told")
    assert says in hub.user_errors[0]
    assert hub.zygote.ended(hub.pids[0]) == ExitCode.USER_ERROR


def test_a_checkpoint_of_another_model_is_refused_by_name(make_hub):
    first = make_hub(make_spec(), 1)
    first.start()
    first.wait_done()
    hub = make_hub(make_spec({"normalise": True}), 1)
    hub.saves, hub.restore_from = dict(first.saves), first.committed[0]
    hub.start()
    hub.wait(lambda: bool(hub.user_errors), "told")
    assert "is of another model or optimizer" in hub.user_errors[0]


def test_the_agents_end_is_the_training_processes_end(make_hub):
    hub = make_hub(make_spec({"slow": 0.004}, steps=500), 1)
    hub.start()
    hub.wait_step(0, 2)
    hub.close()
    assert hub.zygote.ended(hub.pids[0]) == ExitCode.CRASHED
