"""Every gradient is in its bucket once, wherever `grad` lies, and a bucket is launched when it is complete and not before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainingjob_trainer.strategy.buckets import PATIENCE, Buckets, is_finite

SMALL = 80
"""Bytes: a layer of four by four is a bucket."""


class Pass:
    """Lanes of a model, as a strategy runs them; keeps what was launched, and when."""

    def __init__(self, model: nn.Module, capacity: int = SMALL) -> None:
        self.model = model
        self.buckets = Buckets(model.parameters(), capacity)
        self.launched: list[int] = []
        self.early = 0
        """Buckets that were launched before the end of backward."""

    def run(self, *losses: Callable[[], Tensor], early: bool = True) -> None:
        self.launched.clear()
        self.buckets.clear()
        for number, loss in enumerate(losses):
            self.buckets.begin()
            cost = loss()
            if number == len(losses) - 1:
                self.buckets.arm(self.launched.append, early=early)
            cost.backward()
            self.buckets.collect()
        self.early = len(self.launched)
        self.buckets.finish()
        assert self.launched == list(range(len(self.buckets.buckets)))

    def gradients(self) -> list[Tensor | None]:
        self.buckets.give(self.buckets.used())
        return [None if parameter.grad is None else parameter.grad.clone() for parameter in self.model.parameters()]


def plain(model: nn.Module, *losses: Callable[[], Tensor]) -> list[Tensor | None]:
    model.zero_grad()
    total: list[Tensor | None] = [None for _ in model.parameters()]
    for loss in losses:
        model.zero_grad()
        loss().backward()
        for number, parameter in enumerate(model.parameters()):
            if parameter.grad is not None:
                before = total[number]
                total[number] = parameter.grad.to_dense() if before is None else before + parameter.grad.to_dense()
    return total


def equal(left: list[Tensor | None], right: list[Tensor | None]) -> bool:
    return all(
        one is other is None or (one is not None and other is not None and torch.equal(one, other))
        for one, other in zip(left, right, strict=True)
    )


def stack(*, unused: bool = False) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    if unused:
        model.register_parameter("unused", nn.Parameter(torch.ones(4)))
    return model


def loss_of(model: nn.Module, seed: int = 0) -> Callable[[], Tensor]:
    inputs = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
    return lambda: model(inputs).square().sum()


def test_gradients_are_those_of_plain_torch_and_a_parameter_without_one_has_none():
    model = stack(unused=True)
    ours = Pass(model)
    for _ in range(2):
        ours.run(loss_of(model, 1), loss_of(model, 2))
        assert not ours.buckets.missed
        assert equal(ours.gradients(), plain(model, loss_of(model, 1), loss_of(model, 2)))
        assert model.unused.grad is None
        assert not torch.cat(ours.buckets.flats())[-4:].any(), "what is summed for it is zero"


def test_buckets_are_launched_early_once_the_model_is_known():
    model = stack()
    ours = Pass(model)
    ours.run(loss_of(model))
    assert ours.early == 0
    ours.run(loss_of(model))
    assert ours.early == len(ours.buckets.buckets) > 1
    ours.run(loss_of(model), early=False)
    assert ours.early == 0


class Repeated(nn.Module):
    """A block used `times` times under reentrant checkpointing: as many accumulations in one backward pass."""

    def __init__(self, times: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.times = times
        self.first, self.block = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.first(inputs)
        for _ in range(self.times):
            found = checkpoint(self.block, found, use_reentrant=True).tanh()
        return found


def test_a_bucket_waits_for_the_last_of_several_accumulations():
    model = Repeated(3)
    ours = Pass(model)
    for _ in range(3):
        ours.run(loss_of(model))
        assert not ours.buckets.missed
        assert equal(ours.gradients(), plain(model, loss_of(model)))
    assert ours.early == len(ours.buckets.buckets)


def test_an_accumulation_after_the_launch_is_noticed_and_learned():
    model = Repeated(1)
    ours = Pass(model)
    ours.run(loss_of(model))
    model.times = 2
    ours.run(loss_of(model))
    assert ours.buckets.missed
    ours.run(loss_of(model), early=False)
    assert not ours.buckets.missed
    assert equal(ours.gradients(), plain(model, loss_of(model)))
    ours.run(loss_of(model))
    assert not ours.buckets.missed
    assert ours.early == len(ours.buckets.buckets)
    assert equal(ours.gradients(), plain(model, loss_of(model)))


def test_a_parameter_that_is_used_for_the_first_time_is_noticed():
    model = stack(unused=True)
    ours = Pass(model)
    ours.run(loss_of(model))
    with_it = lambda: model(torch.ones(2, 4) * model.unused).square().sum()  # noqa: E731
    ours.run(with_it)
    assert ours.buckets.missed
    ours.run(with_it, early=False)
    assert equal(ours.gradients(), plain(model, with_it))


def test_a_gradient_that_is_changed_by_other_means_after_the_launch_is_noticed_until_patience_ends():
    model = stack()
    ours = Pass(model)
    ours.run(loss_of(model))

    def scale(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = 2 * parameter.grad

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(scale)  # after the buckets' own
    for _ in range(PATIENCE):
        ours.run(loss_of(model))
        assert ours.buckets.missed
    ours.run(loss_of(model))
    assert ours.early == 0
    assert not ours.buckets.missed
    assert equal(ours.gradients(), plain(model, loss_of(model)))


def test_a_loss_may_run_backward_passes_of_its_own():
    model = stack()
    ours = Pass(model)

    def cleared() -> Tensor:
        (7 * loss_of(model, 3)()).backward()
        model.zero_grad()
        return loss_of(model, 4)()

    def kept() -> Tensor:
        (7 * loss_of(model, 3)()).backward()
        return loss_of(model, 4)()

    for losses in ((cleared,), (loss_of(model), cleared), (cleared, loss_of(model)), (kept,), (loss_of(model), kept)):
        for _ in range(2):
            ours.run(*losses)
            assert not ours.buckets.missed
            assert equal(ours.gradients(), plain(model, *losses))


def test_a_sparse_gradient_is_added_up_as_a_dense_one():
    model = nn.Sequential(nn.Embedding(6, 4, sparse=True), nn.Linear(4, 2))
    ours = Pass(model)
    losses = [lambda ids=ids: model(torch.tensor(ids)).square().sum() for ids in ([1, 1, 3], [3, 5])]
    for _ in range(2):
        ours.run(*losses)
        got, wanted = ours.gradients(), plain(model, *losses)
        assert all(torch.allclose(one, other) for one, other in zip(got, wanted, strict=True))


def test_types_are_kept_apart_and_complex_scalar_and_empty_parameters_have_their_place():
    parameters = [
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(3, dtype=torch.float64)),
        nn.Parameter(torch.ones(2, 2, dtype=torch.complex64)),
        nn.Parameter(torch.tensor(2.0)),
        nn.Parameter(torch.ones(0, 4)),
        nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    ]
    model = nn.ParameterList(parameters)
    ours = Pass(model)
    assert [flat.dtype for flat in ours.buckets.flats()] == [torch.bfloat16, torch.float32, torch.float32, torch.float64, torch.float32]
    loss = lambda: sum((3j * each).abs().square().sum().double() for each in model)  # noqa: E731
    for _ in range(2):
        ours.run(loss)
        got, wanted = ours.gradients(), plain(model, loss)
        assert got.pop(4) is None, "there is nothing to sum"
        wanted.pop(4)
        assert equal(got, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_finite_is_told_from_what_is_not(dtype):
    flat = torch.full((70_000,), 100.0, dtype=dtype)
    assert is_finite(flat)
    for value in (float("nan"), float("inf"), float("-inf")):
        flat[7] = value
        assert not is_finite(flat)
