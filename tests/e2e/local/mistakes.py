"""Tasks that go wrong, as users write them: a module of their own beside the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from digits_job import Make
from local_job import LocalJob

MODULE = """
import os
import pathlib
import signal

from trainingjob_trainer.tasks.digits import Digits

MARK = pathlib.Path({mark!r})
{top}


class Mine(Digits):
    calls = 0

    def model(self):
        self.build()
        return super().model()

    def splits(self, *words):
        found = super().splits(*words)
        self.bad = found.train.columns["inputs"][700]
        return found

    def build(self):
        {build}

    def loss(self, model, batch):
        if model.training:
            self.calls += 1
            self.look(bad=bool((batch["inputs"] == self.bad).all(dim=1).any()))
        return super().loss(model, batch)

    def look(self, bad):
        {loss}
"""


def mistaken(make: Make, name: str, *, top: str = "", build: str = "pass", loss: str = "pass", **changes: Any) -> LocalJob:
    """A job whose task does what the lines say: when it is imported, when the model is made, in every call of the loss in training.

    They may use `self.calls` (of the loss, in this life),
    `bad` (a certain sample is in the batch), and MARK, a file that outlives the process.
    """
    job = make(name, training__task={"class": "mine:Mine"}, recovery={"maxFailures": 20}, **changes)
    (job.folder / "mine.py").write_text(MODULE.format(mark=str(job.folder / "mark"), top=top, build=build, loss=loss))
    return job


def line_of(job: LocalJob, words: str) -> str:
    """Where it stands in the task, "mine.py:12"."""
    lines = Path(job.folder / "mine.py").read_text().splitlines()
    return f"mine.py:{next(number for number, line in enumerate(lines, 1) if words in line)}"
