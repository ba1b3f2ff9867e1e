"""A model is in training mode as after `train()`, which is called wherever it may do something."""

from __future__ import annotations

import pytest
from torch import nn

from trainingjob_trainer.strategy.data_parallel import train_mode


class Frozen(nn.Module):
    """Its norm stays in evaluation mode, whatever the rest does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.norm.eval()
        return self


def own(module: nn.Module) -> nn.Module:
    """Its `train` is replaced in the object."""
    train = module.train
    module.train = lambda mode=True: [train(mode), module[0].eval()]
    return module


MODELS = {
    "plain": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout()),
    "class": lambda: nn.Sequential(nn.Linear(3, 3), Frozen()),
    "object": lambda: nn.Sequential(own(nn.Sequential(nn.Dropout()))),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prepare", [lambda model: None, lambda model: model.eval(), lambda model: model[-1].eval()])
def test_modes_are_those_of_train(name, prepare):
    ours, theirs = MODELS[name](), MODELS[name]()
    for model in (ours, theirs):
        prepare(model)
    train_mode(ours)
    theirs.train()
    assert [module.training for module in ours.modules()] == [module.training for module in theirs.modules()]
