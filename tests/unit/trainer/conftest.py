from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unit.trainer.hub import Hub
from unit.trainer.processes import Zygote


@pytest.fixture(scope="session", autouse=True)  # it starts while the first tests run
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    made = Zygote(tmp_path_factory.mktemp("trainees"))
    yield made
    made.close()


@pytest.fixture
def make_hub(zygote: Zygote) -> Iterator[Callable[..., Hub]]:
    hubs: list[Hub] = []

    def make(spec: dict[str, Any], slots: int = 3, **options: Any) -> Hub:
        hubs.append(Hub(zygote, spec, slots, **options))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()


def make_spec(parameters: dict[str, Any] | None = None, checkpoint: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """A small job with valid defaults: 3 workers, 60 samples, batches of 16 with a tail of 12."""
    return {
        "workers": {"replicas": 3},
        "training": {
            "task": {"class": "unit.trainer.toy_tasks:Toy", "parameters": parameters or {}},
            "optimizer": {"name": "AdamW", "learningRate": 0.01},
            "globalBatchSize": 16,
            "seed": 7,
            **({} if "steps" in training else {"epochs": 2}),
            **training,
        },
        "checkpoint": {"storage": {"uri": "file:///nowhere"}, **(checkpoint or {"everySteps": 4})},
    }
