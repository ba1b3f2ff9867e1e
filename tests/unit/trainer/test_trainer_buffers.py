"""Buffers that forward passes change: each has a policy, by default or by the task's word, or the job is refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from trainingjob_api.contract.runtime import ExitCode
from trainingjob_trainer.learning.buffers import Keep, Mean, PerRank, Rank0, buffer_policies
from trainingjob_trainer.strategy.module_buffers import ModuleBuffers
from unit.trainer.buffer_tasks import MODELS, Buffered
from unit.trainer.conftest import make_spec


def spec_of(kind: str, policies: dict[str, str] | None = None, **training):
    spec = make_spec(**{"optimizer": {"name": "SGD", "learningRate": 0.1}, "steps": 6, **training}, checkpoint={"everySteps": 3})
    said = [f"{name}={policy}" for name, policy in (policies or {}).items()]
    spec["training"]["task"] = {"class": "unit.trainer.buffer_tasks:Buffered", "parameters": {"kind": kind, "policies": said}}
    return spec


def trained(make_hub, spec, world: int = 3):
    hub = make_hub(spec, world)
    hub.start()
    hub.wait_done()
    return hub


def refused(make_hub, spec, world: int = 2) -> str:
    hub = make_hub(spec, world)
    hub.start()
    hub.wait(lambda: bool(hub.user_errors), "refused")
    hub.wait(lambda: any(trainee.gone for trainee in hub.trainees.values()), "ended")
    assert hub.committed == []
    ended = next(trainee for trainee in hub.trainees.values() if trainee.gone)
    assert hub.zygote.ended(ended.pid) == ExitCode.USER_ERROR
    return hub.user_errors[0]


def first_model(kind: str) -> torch.nn.Module:
    from trainingjob_trainer.randomness import seed_model

    seed_model(7)
    return Buffered({"kind": kind}).model()


@pytest.mark.parametrize("reduction", ["Fast", "Deterministic"])
def test_a_buffer_that_nobody_changes_keeps_its_bits_whatever_it_holds(make_hub, reduction):
    hub = trained(make_hub, spec_of("Masked", reduction=reduction))
    final = hub.final()
    assert torch.equal(final["model/mask"], first_model("Masked").mask)
    assert final["model/nothing"].isnan().all()
    manifest = hub.saves[hub.committed[-1]].manifest(hub.committed[-1])
    assert manifest.position.clean


def test_a_queue_of_which_nothing_is_said_is_refused_with_the_line_to_write(make_hub):
    said = refused(make_hub, spec_of("Queue"))
    assert "forward changes the buffer 'queue' of Queue" in said
    assert "def buffers(self): return {'queue': Rank0}" in said


@pytest.mark.parametrize("reduction", ["Fast", "Deterministic"])
def test_rank_0s_queue_is_everybodys(make_hub, reduction):
    finals = [
        trained(make_hub, spec_of("Queue", {"queue": "Rank0"}, reduction=reduction, lanes=3 * (reduction != "Fast") or None), world)
        for world in (2, 3)
    ]
    for hub in finals:
        queue = hub.final()["model/queue"]
        assert torch.allclose(queue.norm(dim=1), torch.ones(16), atol=1e-6)
        assert not torch.equal(queue, first_model("Queue").queue)
        assert int(hub.final()["model/place"]) == 6 * 4 % 16
    if reduction == "Deterministic":
        one, other = (hub.final() for hub in finals)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_rank_gets_the_queue_of_the_others(make_hub):
    straight = trained(make_hub, spec_of("Queue", {"queue": "Rank0"}, steps=200))
    hub = make_hub(spec_of("Queue", {"queue": "Rank0"}, steps=200))
    hub.start()
    hub.wait_step(0, 5)
    hub.kill(0)
    hub.wait(lambda: hub.trainees[0].gone, "the fault fired")
    hub.start(0)
    hub.wait_done()
    final, wanted = hub.final(), straight.final()
    assert [name for name in wanted if not torch.equal(final[name], wanted[name])] == []


@pytest.mark.parametrize("kind", ["Average", "ByData"])
def test_a_running_mean_may_be_averaged_however_it_is_written(make_hub, kind):
    one, three = (trained(make_hub, spec_of(kind, {"center": "Mean"}), world).final() for world in (1, 3))
    assert one["model/center"].abs().max() > 0.01
    for world in (1, 3):
        assert f"the buffer 'center' of {kind}" in refused(make_hub, spec_of(kind), world)
    # Each worker subtracts the mean of its own share in this model: the results are near, not the same.
    assert torch.allclose(one["model/center"], three["model/center"], atol=0.05)


def test_a_kept_buffer_is_put_back(make_hub):
    final = trained(make_hub, spec_of("Average", {"center": "Keep"})).final()
    assert torch.equal(final["model/center"], torch.zeros(8))


def test_a_workers_own_buffer_is_no_part_of_the_state(make_hub):
    hub = trained(make_hub, spec_of("Queue", {"queue": "PerRank"}))
    assert "model/queue" not in hub.final()
    data, _ = hub.exported[0]
    import safetensors.torch

    exported = safetensors.torch.load(data)["queue"]
    assert torch.allclose(exported.norm(dim=1), torch.ones(16), atol=1e-6)
    assert not torch.equal(exported, first_model("Queue").queue)


def test_a_workers_own_buffer_does_not_go_with_results_that_do_not_depend_on_workers(make_hub):
    assert "PerRank" in refused(make_hub, spec_of("Queue", {"queue": "PerRank"}, reduction="Deterministic"))


def test_counters_that_all_workers_change_alike_need_no_word(make_hub):
    assert int(trained(make_hub, spec_of("Counted")).final()["model/passes"]) == 6


def test_counters_that_workers_change_differently_are_refused(make_hub):
    said = refused(make_hub, spec_of("CountsSamples", globalBatchSize=15), 2)
    assert "forward changes the buffer 'passes' of CountsSamples, and not all workers alike" in said


def test_a_rank_without_samples_gets_what_the_others_made(make_hub):
    # 61 samples: the last batch of the epoch has one, for three workers.
    spec = spec_of("Counted", globalBatchSize=20, steps=4)
    spec["training"]["task"]["parameters"]["samples"] = 61
    hub = trained(make_hub, spec)
    assert int(hub.final()["model/passes"]) == 4


def test_a_cache_outside_the_state_is_refused_or_kept(make_hub):
    said = refused(make_hub, spec_of("Cached"))
    assert "{'cache': Keep}" in said
    trained(make_hub, spec_of("Cached", {"cache": "Keep"}))


def test_a_cache_that_forward_registers_is_no_state(make_hub):
    one, other = (trained(make_hub, spec_of(kind), 2).final() for kind in ("LateCache", "Network"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Growing", "forward puts a tensor of shape (8, 8) and type float32 in the place of the buffer 'seen' of Growing"),
        ("Late", "forward registers the buffer 'late'; register it when the model is made"),
    ],
)
def test_buffers_that_do_not_keep_their_place_are_refused(make_hub, kind, says):
    policies = {"seen": "Rank0"} if kind == "Growing" else None
    assert says in refused(make_hub, spec_of(kind, policies))


def test_spectral_normalisation_needs_no_word_and_keeps_unit_vectors(make_hub):
    one, three = (trained(make_hub, spec_of("Spectral"), world).final() for world in (1, 3))
    vectors = [name for name in one if name.endswith(("_u", "_v"))]
    assert len(vectors) == 4
    for name in one:
        assert torch.allclose(one[name], three[name], atol=1e-5), name
    for name in vectors:
        assert torch.equal(three[name], functional.normalize(three[name], dim=0)) or abs(float(three[name].norm()) - 1) < 1e-6


SINGLY = {"globalBatchSize": 8, "microBatchSize": 1}
"""Four workers pass the model twice in a step; of three, one passes it twice and two three times."""


def test_lanes_that_pass_the_model_less_often_take_over_what_the_first_one_made(make_hub):
    spec = spec_of("Following", reduction="Deterministic", lanes=3, **SINGLY)
    one, two, three = (trained(make_hub, spec, world).final() for world in (1, 2, 3))
    assert int(one["model/passes"]) == 6 * 3
    assert [name for name in one if not torch.equal(one[name], two[name]) or not torch.equal(one[name], three[name])] == []


def test_a_lost_worker_may_make_passes_uneven(make_hub):
    spec = spec_of("Following", steps=200, **SINGLY)
    hub = make_hub(spec, 4, wait=False)
    hub.start()
    hub.wait(lambda: len(hub.generations[-1].seats) == 4 if hub.generations else False, "four train")
    hub.wait_step(1, 50)
    hub.kill(1)
    hub.wait(lambda: len(hub.generations[-1].seats) == 3, "three train")
    hub.slots = 3
    del hub.trainees[1]
    hub.wait_done()
    # On a busy machine more may be lost for a while: one alone passes the model eight times.
    assert 200 * 2 < int(hub.final()["model/passes"]) < 200 * 8


def test_an_evaluation_leaves_no_trace_in_the_buffers(make_hub):
    final = trained(make_hub, spec_of("Measuring")).final()
    assert float(final["model/calls"]) == 0


def test_an_evaluation_leaves_no_trace_in_weights_that_it_scales(make_hub):
    # Evaluated after each of the epochs of 5 steps.
    one, other = (trained(make_hub, spec_of(kind, steps=20), 2).final() for kind in ("Merging", "Network"))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_policies_are_found_by_name_by_end_and_by_pattern():
    model = torch.nn.ModuleDict({"a": MODELS["Queue"](), "b": MODELS["Queue"](), "norm": torch.nn.BatchNorm1d(3)})
    found = buffer_policies(model, {"a.queue": Rank0, "*.queue": PerRank, "place": Keep})
    assert found["a.queue"] is Rank0
    assert found["b.queue"] is PerRank
    assert found["a.place"] is found["b.place"] is Keep
    assert {found[f"norm.{key}"] for key in ("running_mean", "running_var", "num_batches_tracked")} == {Mean}


@pytest.mark.parametrize(
    ("kind", "declared", "says"),
    [
        ("Queue", {"quue": Rank0}, "names 'quue', and the model has no such buffer; it has queue, place"),
        ("Queue", {"queue": "Rank0"}, "says 'Rank0' for 'queue'; say Mean, Rank0, PerRank or Keep"),
        ("Cached", {"cache": Rank0}, "registered with persistent=False"),
    ],
)
def test_a_wrong_word_about_a_buffer_is_refused_before_anything_is_trained(kind, declared, says):
    with pytest.raises(ValueError, match=r"spec\.training\.task\.class: ") as caught:
        buffer_policies(MODELS[kind](), declared)
    assert says in str(caught.value)


def test_a_workers_own_buffer_begins_anew_with_another_line_of_history():
    model = MODELS["Average"]()
    buffers = ModuleBuffers(model, {"center": PerRank})
    nothing = torch.zeros(0, dtype=torch.float64)
    for attempt, wanted in ((1, 1.0), (1, 2.0), (2, 1.0)):
        buffers.keep(attempt)
        model.center = model.center + 1
        buffers.end_lane(4.0, nothing, leads=True)
        buffers.apply(nothing, 4.0)
        assert torch.equal(model.center, torch.full((8,), wanted))


def test_what_an_interrupted_step_made_of_the_buffers_is_forgotten():
    model = torch.nn.ModuleDict({"own": MODELS["Average"](), "norm": torch.nn.BatchNorm1d(3)})
    buffers = ModuleBuffers(model, buffer_policies(model, {"center": PerRank}))
    total = torch.zeros(buffers.width, dtype=torch.float64)
    buffers.keep(1)
    model.own.center = model.own.center + 1
    buffers.end_lane(4.0, total, leads=True)  # the sums never come
    buffers.put_back()
    model.norm(torch.randn(4, 3))
    buffers.put_back()  # in the middle of a forward pass
    buffers.apply(torch.zeros_like(total), 4.0)
    assert torch.equal(model.own.center, torch.zeros(8))
    assert torch.equal(model.norm.running_mean, torch.zeros(3))
    assert int(model.norm.num_batches_tracked) == 0


@given(st.lists(st.sampled_from([float("-inf"), float("inf"), float("nan"), 0.0, 0.1, -3.5]), min_size=1, max_size=9))
def test_an_average_never_makes_nan_of_what_nobody_changes(values):
    model = torch.nn.Module()
    model.register_buffer("it", torch.tensor(values))
    wanted = model.it.clone()
    buffers = ModuleBuffers(model, {"it": Mean})
    buffers.keep(1)
    total = torch.zeros(buffers.width, dtype=torch.float64)
    for weight in (3.0, 0.0, 1.0):
        part = torch.zeros_like(total)
        buffers.end_lane(weight, part, leads=False)
        total += part
    buffers.apply(total, 4.0)
    assert torch.equal(model.it.nan_to_num(nan=7.0), wanted.nan_to_num(nan=7.0))
