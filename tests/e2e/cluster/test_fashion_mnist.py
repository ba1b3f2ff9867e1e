"""The larger example, whose data the trainer's image has."""

from __future__ import annotations

import pytest

from e2e.cluster.conftest import Make


@pytest.mark.timeout(900)
def test_fashion_mnist_reaches_its_accuracy(make: Make) -> None:
    job = make("fashion-mnist", "fashion-mnist.yaml", training__epochs=1)
    job.apply()
    status = job.succeeds()
    assert status["metrics"]["accuracy"] >= 0.85, status["metrics"]
