"""The digits at a pace: steps take a while on any machine, and little of its processors. Its own folder is on the jobs' PYTHONPATH."""

from __future__ import annotations

import time

from torch import nn

from trainingjob_trainer.data import Batch
from trainingjob_trainer.learning.loss import LossSum
from trainingjob_trainer.tasks.digits import Digits

STEP_SECONDS = 0.012
"""What a worker adds to each step that it trains with one batch."""


class PacedDigits(Digits):
    """The same bits as the digits'."""

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The digits' loss, a while later."""
        if model.training:
            time.sleep(STEP_SECONDS)
        return super().loss(model, batch)
