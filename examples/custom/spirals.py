"""A task of your own, whole: made data, a model, a loss and metrics in one class.

Points on two interleaved spirals; the model says to which one a point belongs.
"""

import math

import torch
from pydantic import Field
from torch import nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.evaluation import Evaluation
from trainingjob_trainer.task import Task, TaskParameters


class Spirals(Task):
    class Parameters(TaskParameters):
        """What `training.task.parameters` may hold: name, type, default, limits."""

        points: int = Field(default=2000, ge=10, le=1_000_000)
        turns: float = Field(default=1.5, gt=0, le=10)
        noise: float = Field(default=0.02, ge=0)
        hidden: int = Field(default=32, ge=1)

    parameters: Parameters

    def splits(self, seed, validation, test):
        """The data: the same on every worker and after every restart, so all randomness comes from the seed."""
        random = torch.Generator().manual_seed(seed)
        spiral = torch.arange(self.parameters.points) % 2
        along = torch.rand(self.parameters.points, generator=random).sqrt()
        angle = along * self.parameters.turns * 2 * math.pi + spiral * math.pi
        points = torch.stack([along * angle.cos(), along * angle.sin()], dim=1)
        points += self.parameters.noise * torch.randn(points.shape, generator=random)
        rows = Rows(inputs=points, targets=spiral.float())
        return Splits(*rows.split(seed, validation, test, labels=spiral))

    def model(self):
        """torch's random generator was seeded for us."""
        hidden = self.parameters.hidden
        return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1), nn.Flatten(0))

    def loss(self, model, batch):
        """(sum over the samples, number of samples): never a mean."""
        logits = model(batch["inputs"])
        total = nn.functional.binary_cross_entropy_with_logits(logits, batch["targets"], reduction="sum")
        return total, len(logits)

    def evaluation(self):
        return Hits()

    def columns(self):
        """What a row for `predict` holds."""
        return ["x", "y"]

    def predict(self, model, rows):
        with torch.no_grad():
            chances = model(rows).sigmoid().tolist()
        return [{"spiral": "second" if chance > 0.5 else "first", "probability": max(chance, 1 - chance)} for chance in chances]


class Hits(Evaluation):
    """A metric of your own: sums that can be added over batches and workers, and what they mean in the end."""

    length = 3

    def update(self, model, batch):
        with torch.no_grad():
            logits = model(batch["inputs"]).double()
        targets = batch["targets"].double()
        hits = ((logits > 0) == (targets > 0.5)).sum()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return torch.stack([hits.double(), loss, torch.tensor(float(len(targets)), dtype=torch.float64)])

    def result(self, statistics):
        hits, loss, count = statistics.tolist()
        return {"accuracy": hits / count, "loss": loss / count} if count else {}
