import subprocess
import sys

import pytest
import torch
from torch import nn

from trainingjob_api.spec.training import Optimizer
from trainingjob_trainer.learning.optimizer import GROUP_BYTES, build_optimizer, set_learning_rate, update


def make_model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))


def step(model, optimizer, advance, times=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(times):
        inputs = torch.randn(6, 4, generator=generator)
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        advance(optimizer)
    return [parameter.detach().clone() for parameter in model.parameters()]


TORCHS_OWN = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.01),
    "Momentum": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.8),
    "Adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.01, eps=1e-7),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=0.01, alpha=0.95, eps=1e-7),
    "Adam": lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.85, 0.99), eps=1e-7),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(0.85, 0.99), eps=1e-7),
}


FIELDS = {
    "SGD": {},
    "Momentum": {"momentum": 0.8},
    "Adagrad": {"epsilon": 1e-7},
    "RMSprop": {"alpha": 0.95, "epsilon": 1e-7},
    "Adam": {"beta1": 0.85, "beta2": 0.99, "epsilon": 1e-7},
    "AdamW": {"beta1": 0.85, "beta2": 0.99, "epsilon": 1e-7},
}


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", TORCHS_OWN)
def test_each_optimizer_steps_as_torchs_own(name, decay):
    spec = Optimizer(name=name, learning_rate=0.01, weight_decay=decay, **FIELDS[name])
    ours = make_model()
    theirs = make_model()
    groups = [
        {"params": [parameter for parameter in theirs.parameters() if parameter.dim() > 1], "weight_decay": decay},
        {"params": [parameter for parameter in theirs.parameters() if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    begin = [parameter.detach().clone() for parameter in ours.parameters()]
    got = step(ours, build_optimizer(spec, ours), update)
    wanted = step(theirs, TORCHS_OWN[name](groups), lambda optimizer: optimizer.step())
    for one, two, first in zip(got, wanted, begin, strict=True):
        torch.testing.assert_close(one, two)
        assert not torch.equal(one, first)


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_bits_do_not_depend_on_the_groups(name, monkeypatch):
    ours, theirs = make_model(), make_model()
    whole = build_optimizer(Optimizer(name=name), theirs)
    monkeypatch.setattr("trainingjob_trainer.learning.optimizer.GROUP_BYTES", 1)
    single = build_optimizer(Optimizer(name=name), ours)
    assert [len(optimizer.param_groups) for optimizer in (whole, single)] == [2, 6]
    assert all(torch.equal(*pair) for pair in zip(step(ours, single, update), step(theirs, whole, update), strict=True))


def test_a_group_on_a_cpu_is_no_larger_than_a_cache():
    half = GROUP_BYTES // 4 // 2
    model = nn.ParameterList(nn.Parameter(torch.zeros(1, size)) for size in (half, half, 1, 3 * half, half, half))
    groups = build_optimizer(Optimizer(name="SGD"), model).param_groups
    assert [[parameter.numel() for parameter in group["params"]] for group in groups] == [[half, half], [1], [3 * half], [half, half]]


def test_every_optimizer_of_the_spec_can_be_built():
    names = Optimizer.model_fields["name"].annotation.__args__
    assert set(names) == set(TORCHS_OWN)


def test_biases_and_norm_layers_do_not_decay():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm([2, 3]), nn.BatchNorm1d(3), nn.PReLU())
    groups = build_optimizer(Optimizer(weight_decay=0.5), model).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert [id(model[0].weight)] == [id(parameter) for parameter in groups[0]["params"]]
    exempt = [parameter for parameter in model.parameters() if parameter is not model[0].weight]
    assert [id(parameter) for parameter in exempt] == [id(parameter) for parameter in groups[1]["params"]]


def test_frozen_parameters_are_left_out():
    model = make_model()
    model[0].requires_grad_(False)
    known = [id(parameter) for group in build_optimizer(Optimizer(), model).param_groups for parameter in group["params"]]
    assert id(model[0].weight) not in known
    assert id(model[3].weight) in known


def test_a_model_without_parameters_is_a_users_mistake():
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(Optimizer(), nn.ReLU())


def test_the_learning_rate_is_set_on_every_group():
    model = make_model()
    optimizer = build_optimizer(Optimizer(name="SGD"), model)
    set_learning_rate(optimizer, 0.0)
    begin = [parameter.detach().clone() for parameter in model.parameters()]
    assert all(torch.equal(one, two) for one, two in zip(begin, step(model, optimizer, update), strict=True))


def test_making_and_stepping_an_optimizer_does_not_import_the_compiler():
    program = """
import sys, torch
from trainingjob_api.spec.training import Optimizer
from trainingjob_trainer.learning.optimizer import build_optimizer, update
for name in ("SGD", "Momentum", "Adagrad", "RMSprop", "Adam", "AdamW"):
    model = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(Optimizer(name=name), model)
    model(torch.ones(1, 2)).sum().backward()
    update(optimizer)
print([name for name in sys.modules if name.startswith("torch._dynamo")])
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240).stdout
    assert printed.strip() == "[]"
