"""torch.distributed in the user's own code: right, safe under failover, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainingjob_trainer.randomness import permutation, seed_model
from trainingjob_trainer.strategy.user_group import UserGroup
from trainingjob_trainer.transport.port import Interrupted
from unit.trainer.collective_tasks import Collective
from unit.trainer.conftest import make_spec
from unit.trainer.hub import Hub

TRAINING = {"optimizer": {"name": "SGD", "learningRate": 0.1}, "globalBatchSize": 12, "steps": 8}


def spec_of(kind: str, parameters=None, **training):
    spec = make_spec(checkpoint={"everySteps": 4}, **{**TRAINING, **training})
    spec["training"]["task"] = {"class": "unit.trainer.collective_tasks:Collective", "parameters": {"kind": kind, **(parameters or {})}}
    return spec


def trained(make_hub, spec, world):
    hub = make_hub(spec, world)
    hub.start()
    hub.wait_done()
    return hub.final()


def refused(make_hub, spec, world: int = 2) -> str:
    hub = make_hub(spec, world)
    hub.start()
    hub.wait(lambda: bool(hub.user_errors), "refused")
    assert hub.committed == []
    return hub.user_errors[0]


def by_plain_torch(kind: str, parameters=None, steps: int = 8) -> dict[str, torch.Tensor]:
    """One process, whole batches."""
    task = Collective({"kind": kind, **(parameters or {})})
    data = task.splits(7, 0.1, 0.1).train
    seed_model(7)
    model = task.model()
    for index, module in enumerate(model):
        if isinstance(module, nn.SyncBatchNorm):
            plain = nn.BatchNorm1d(module.num_features)
            plain.load_state_dict(module.state_dict())
            model[index] = plain
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [ids for epoch in range(steps) for ids in permutation(7, epoch, len(data)).split(12)]
    for ids in batches[:steps]:
        optimizer.zero_grad()
        loss, weight = task.loss(model, data.batch(ids))
        (loss / weight).backward()
        optimizer.step()
    return {f"model/{name}": value.detach() for name, value in model.state_dict().items()}


def same(got, wanted):
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=2e-5, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("kind", ["sync", "contrast", "library", "functional"])
def test_what_looks_at_all_samples_trains_as_one_process_does(make_hub, kind, world):
    same(trained(make_hub, spec_of(kind), world), by_plain_torch(kind))


def test_synchronised_batch_norm_takes_shares_of_any_size(make_hub):
    # 47 samples: shares of 4, then of 4, 4 and 3.
    same(trained(make_hub, spec_of("sync", {"samples": 47}), 3), by_plain_torch("sync", {"samples": 47}))
    plain = trained(make_hub, spec_of("plain", {"samples": 47}), 3)
    wanted = by_plain_torch("sync", {"samples": 47})
    assert not torch.allclose(plain["model/1.running_var"], wanted["model/1.running_var"], rtol=1e-3), "it would not be seen otherwise"


def test_all_workers_go_through_the_model_as_often(make_hub):
    # Shares of 5, 4 and 4 samples, in micro-batches of 4: two each.
    spec = spec_of("sync", {"samples": 52}, globalBatchSize=13, microBatchSize=4)
    trained(make_hub, spec, 3)


@pytest.fixture(scope="module", params=["sync", "hidden"])
def undisturbed(zygote, request):
    """A kind, and what three workers of whom none is lost make of it."""
    hub = Hub(zygote, spec_of(request.param, steps=300), 3)
    try:
        hub.start()
        hub.wait_done()
        return request.param, hub.final()
    finally:
        hub.close()


@pytest.mark.parametrize("victim", [0, 2])
def test_a_worker_lost_in_a_collective_of_the_users_is_no_error_of_the_users(make_hub, undisturbed, victim):
    kind, straight = undisturbed
    hub = make_hub(spec_of(kind, steps=300), 3)
    hub.start()
    for step in (5, 40):
        hub.wait_step(victim, step)
        hub.kill(victim)
        hub.wait(lambda: hub.trainees[victim].gone, "the fault fired")
        hub.start(victim)
        hub.wait(lambda: hub.trainees[victim].standing is not None, "back")
    hub.wait_done()
    assert len(hub.pids) == 5, "no other process has ended"
    final = hub.final()
    assert [name for name in straight if not torch.equal(final[name], straight[name])] == []


@pytest.mark.parametrize("every", [40, 1000])
@pytest.mark.parametrize("kind", ["seldom", "seldom_late"])
def test_a_collective_of_a_few_steps_alone_outlasts_the_loss_of_a_worker(make_hub, kind, every):
    spec = spec_of(kind, {"at": every}, steps=200)
    straight = trained(make_hub, spec, 2)
    hub = make_hub(spec, 2)
    hub.start()
    hub.wait_step(1, 5)
    hub.kill(1)
    hub.wait(lambda: hub.trainees[1].gone, "the fault fired")
    hub.start(1)
    hub.wait_done()
    assert len(hub.pids) == 3, "no other process has ended"
    final = hub.final()
    assert [name for name in straight if not torch.equal(final[name], straight[name])] == []


def test_a_collective_that_one_rank_alone_begins_later_is_named_in_its_stamp(make_hub):
    """It cannot be refused: the others are in the step's own reductions by then. So who waits for whom is told from the stamps."""
    hub = make_hub(spec_of("later", {"at": 3}), 2)
    hub.start()

    def stamps():
        return [hub.trainees[rank].stamp.read() for rank in range(2)]

    hub.wait(lambda: all(stamp.entered > stamp.left and stamp.step == 2 for stamp in stamps()) and stamps()[1].calling, "both wait")
    assert [stamp.calling for stamp in stamps()] == ["", "all_reduce 1"]


class Cut:
    """A transport whose group is cut, or is not, while a collective begins."""

    def __init__(self, *, is_cut):
        self._groups = iter([self, None if is_cut else self])

    def group(self):
        return next(self._groups)

    def allreduce(self, *_):
        raise RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(("is_cut", "raised"), [(True, Interrupted), (False, RuntimeError)])
def test_a_collective_that_cannot_begin_is_a_lost_worker_only_if_the_group_is_gone(is_cut, raised):
    group = SimpleNamespace(_transport=Cut(is_cut=is_cut), interrupted=False)
    group._lost = lambda: UserGroup._lost(group)
    with pytest.raises(raised):
        UserGroup._begin(group, "allreduce", [])
    assert group.interrupted == is_cut


def test_a_group_of_another_size_after_a_loss(make_hub):
    hub = make_hub(spec_of("contrast", steps=400), 3, wait=False)
    hub.start()
    hub.wait(lambda: len(hub.generations[-1].seats) == 3 if hub.generations else False, "three train")
    hub.wait_step(1, 5)
    hub.kill(1)
    hub.wait(lambda: len(hub.generations[-1].seats) == 2, "two train")
    hub.slots = 2
    del hub.trainees[1]
    hub.wait_done()
    same_as = by_plain_torch("contrast", steps=400)
    for name in same_as:
        torch.testing.assert_close(hub.final()[name], same_as[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "parameters", "training", "says"),
    [
        ("sync", {}, {"reduction": "Deterministic"}, "spec.training.reduction: with Deterministic a worker computes several parts"),
        ("hidden", {}, {"reduction": "Deterministic"}, "torch.distributed.all_reduce: with reduction: Deterministic"),
        ("sync", {"samples": 49}, {}, "the last batch of an epoch has 1 samples, too few"),
        (
            "hidden",
            {},
            {"globalBatchSize": 5, "microBatchSize": 1},
            "a batch has 5 samples, too few to give each of 2 workers as many parts",
        ),
        ("uneven", {}, {"globalBatchSize": 11}, "do not match: rank 0 calls all_gather of 18 float32, rank 1 all_gather of 15 float32"),
        ("alone", {}, {}, "do not match: rank 0 calls barrier, rank 1 no further collective"),
        ("send", {}, {}, "torch.distributed.send is not offered to a task"),
        ("swallowed", {}, {}, "torch.distributed.new_group is not offered to a task"),
        ("initialise", {}, {}, "trying to initialize the default process group twice"),
        ("late", {"at": 2}, {}, "called for the first time in a backward pass"),
    ],
)
def test_what_cannot_be_right_is_refused(make_hub, kind, parameters, training, says):
    assert says in refused(make_hub, spec_of(kind, parameters, **training))


def test_a_collective_in_backward_alone_is_right_from_the_first_step_on(make_hub):
    trained(make_hub, spec_of("late", {"at": 0}), 2)
