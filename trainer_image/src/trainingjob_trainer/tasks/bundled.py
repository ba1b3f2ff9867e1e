"""Reads the small tables that scikit-learn carries. It must not import scikit-learn: that takes seconds of every start."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def bundled_table(name: str, delimiter: str | None = None) -> NDArray[np.float64]:
    """The numbers in scikit-learn's `datasets/data/<name>.csv.gz`, one row a line.

    Args:
        name: of the file, without its endings.
        delimiter: between two numbers; None: blanks.

    Raises:
        ValueError: when scikit-learn is not installed, or does not carry that file.
    """
    found = importlib.util.find_spec("sklearn")
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise ValueError("spec.training.task.class: this task's data comes with scikit-learn, which is not installed; add it to the image")
    path = Path(folders[0]) / "datasets" / "data" / f"{name}.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return np.loadtxt(file, delimiter=delimiter, dtype=np.float64)
    except FileNotFoundError:
        raise ValueError(f"spec.training.task.class: the installed scikit-learn has no {path.name}; install version 1.9 or newer") from None
