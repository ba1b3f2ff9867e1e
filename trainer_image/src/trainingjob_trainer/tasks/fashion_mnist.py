"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 images of 28 by 28 pixels, ten classes of clothing.

Reads its four files, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from trainingjob_trainer.data import Rows, Splits
from trainingjob_trainer.learning.scaling import Moments, Standardise
from trainingjob_trainer.task import Classification, TaskParameters
from trainingjob_trainer.tasks.idx import read_idx

SIDE = 28
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN = "/usr/share/datasets/fashion-mnist"


class FashionMnist(Classification):
    """A small convolutional network; above 0.85 of the test images after two to three epochs.

    The data has a test set of its own, which is the one used: the manifest's fraction for testing is not asked.
    """

    class Parameters(TaskParameters):
        """What a manifest may set."""

        path: str = Field(default=DEBIAN, min_length=1, max_length=4096)
        """Folder with the four idx files, compressed (.gz) or not. The default is where Debian's dataset-fashion-mnist puts them."""
        channels: int = Field(default=16, ge=1, le=1024)
        """Of the first convolution; the second has twice as many."""
        hidden: int = Field(default=64, ge=1, le=65536)
        """Width of the layer before the last."""
        dropout: float = Field(default=0.0, ge=0, lt=1)
        """Share of the hidden values that is dropped in training; 0: none."""

    parameters: Parameters
    classes = CLASSES
    _moments: Moments | None = None

    def splits(self, seed: int, validation: float, test: float) -> Splits:
        """Validation is a stratified part of the 60,000 training images, `test` is ignored.

        Images stay bytes until they reach the model.
        """
        inputs, targets = self._read("train")
        train, middle, _ = Rows(inputs=inputs, targets=targets).split(seed, validation, 0.0, targets)
        self._moments = Moments.of_all(train.columns["inputs"])
        images, labels = self._read("t10k")
        return Splits(train, middle, Rows(inputs=images, targets=labels))

    def model(self) -> nn.Module:
        """784 pixels from 0 to 255 in, ten logits out."""
        narrow, wide = self.parameters.channels, 2 * self.parameters.channels
        return nn.Sequential(
            Standardise(self._moments),
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, narrow, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(narrow, wide, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(wide * (SIDE // 4) ** 2, self.parameters.hidden),
            nn.ReLU(),
            nn.Dropout(self.parameters.dropout),
            nn.Linear(self.parameters.hidden, len(CLASSES)),
        )

    def columns(self) -> Sequence[str]:
        """pixel_0 … pixel_783, row by row."""
        return [f"pixel_{index}" for index in range(SIDE * SIDE)]

    def _read(self, part: str) -> tuple[Tensor, Tensor]:
        images = read_idx(self._file(f"{part}-images-idx3-ubyte"))
        labels = read_idx(self._file(f"{part}-labels-idx1-ubyte"))
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
            raise ValueError(
                f"spec.training.task.parameters.path: the {part} files in {self.parameters.path} hold {images.shape} and {labels.shape},"
                f" not images of {SIDE} by {SIDE} pixels and as many labels"
            )
        if len(labels) and labels.max() >= len(CLASSES):
            raise ValueError(
                f"spec.training.task.parameters.path: label {labels.max()} in {self.parameters.path} is beyond the ten classes"
            )
        return torch.from_numpy(images.reshape(len(images), -1)), torch.from_numpy(labels).long()

    def _file(self, name: str) -> Path:
        folder = Path(self.parameters.path)
        for candidate in (folder / f"{name}.gz", folder / name):
            if candidate.is_file():
                return candidate
        raise ValueError(
            f"spec.training.task.parameters.path: {folder} has no {name}.gz; install Debian's package dataset-fashion-mnist,"
            " or set `path` to a folder with the four idx files"
        )
