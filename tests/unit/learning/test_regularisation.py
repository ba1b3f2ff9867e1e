import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainingjob_trainer.learning.loss import (
    binary_cross_entropy_sum,
    cross_entropy_sum,
    mean_absolute_error_sum,
    mean_squared_error_sum,
)
from trainingjob_trainer.learning.regularisation import add_l1_, clip_, penalised
from trainingjob_trainer.learning.scaling import Moments, Rescale, Standardise


def make_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model(torch.ones(5, 3)).square().sum().backward()
    return model


def test_l1_adds_the_gradient_of_the_penalty():
    ours, theirs = make_model(), make_model()
    add_l1_(penalised(ours), 0.3)
    (0.3 * sum(weight.abs().sum() for weight in (theirs[0].weight, theirs[2].weight))).backward()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_l1_leaves_biases_and_norms_alone_even_when_given_them():
    ours, untouched = make_model(), make_model()
    add_l1_(ours.parameters(), 0.3)
    for one, two in zip(ours.parameters(), untouched.parameters(), strict=True):
        assert (one.dim() > 1) != torch.equal(one.grad, two.grad)


def test_clipping_scales_all_gradients_by_one_factor():
    ours, before = make_model(), make_model()
    norm = torch.cat([parameter.grad.flatten() for parameter in before.parameters()]).norm()
    torch.testing.assert_close(clip_(ours.parameters(), 0.5), norm)
    for one, two in zip(ours.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad * 0.5 / norm, rtol=1e-4, atol=1e-7)


def test_short_gradients_are_not_clipped():
    ours, before = make_model(), make_model()
    clip_(ours.parameters(), 1e9)
    assert all(torch.equal(one.grad, two.grad) for one, two in zip(ours.parameters(), before.parameters(), strict=True))


def test_the_norm_of_bad_gradients_tells_on_them():
    model = make_model()
    model[0].weight.grad[0, 0] = torch.nan
    assert not torch.isfinite(clip_(model.parameters(), 1.0))


LOSSES = {
    "cross entropy": (cross_entropy_sum, nn.functional.cross_entropy, torch.tensor([0, 2, 1, 1, 0, 2, 2])),
    "squared error": (mean_squared_error_sum, nn.functional.mse_loss, torch.arange(21.0).reshape(7, 3)),
    "absolute error": (mean_absolute_error_sum, nn.functional.l1_loss, torch.arange(21.0).reshape(7, 3)),
    "binary": (binary_cross_entropy_sum, nn.functional.binary_cross_entropy_with_logits, (torch.arange(21) % 2).reshape(7, 3).float()),
}


@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None)
@given(cut=st.integers(0, 7))
def test_loss_sums_of_any_two_shares_add_up_to_the_mean_over_all(name, cut):
    ours, torchs, targets = LOSSES[name]
    outputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    (first, count), (second, rest) = ours(outputs[:cut], targets[:cut]), ours(outputs[cut:], targets[cut:])
    assert count + rest == 7
    torch.testing.assert_close((first + second) / 7, torchs(outputs, targets))


def test_a_regression_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 1\), targets \(4,\)"):
        mean_squared_error_sum(torch.zeros(4, 1), torch.zeros(4))


def test_scaling_goes_there_and_back():
    rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    moments = Moments.of_columns(rows)
    assert Standardise(moments)(rows).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    torch.testing.assert_close(Rescale(moments)(Standardise(moments)(rows)), rows)


def test_a_layer_without_statistics_refuses_to_compute_until_they_are_loaded():
    layer = Standardise(None, (2,))
    with pytest.raises(RuntimeError, match=r"call Task.splits\(\) before"):
        layer(torch.zeros(1, 2))
    layer.load_state_dict(Standardise(Moments.of_columns(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))).state_dict())
    assert layer(torch.tensor([[2.0, 1.0]])).tolist() == [[1.0, 0.0]]


@settings(deadline=None)
@given(value=st.floats(-1e6, 1e6, width=32), length=st.integers(1, 9000))
def test_a_constant_column_is_not_blown_up(value, length):
    assert Moments.of_columns(torch.full((length, 1), value)).deviation.item() == 1.0


def test_moments_of_many_rows_are_those_of_one_piece():
    rows = torch.randn(9001, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 20.0]) + 100
    moments = Moments.of_columns(rows)
    torch.testing.assert_close(moments.mean, rows.double().mean(0).float())
    torch.testing.assert_close(moments.deviation, rows.double().std(0, correction=0).float())
    assert Moments.of_all(rows).mean.shape == torch.Size([])
