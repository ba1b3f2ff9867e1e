"""Reads idx files, the format of MNIST and its relatives. Every length is checked before memory is taken; nothing in a file is run."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 1 << 30
"""A file that claims to hold more is refused."""

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, compressed with gzip or not.

    The format: two zero bytes, the type (0x08), the number of dimensions, each dimension as a big-endian 32-bit number, the bytes.

    Raises:
        ValueError: when the file is not that, or is cut short or too long.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
                raise ValueError(f"{path} is not an idx file of unsigned bytes")
            dimensions = magic[3]
            header = file.read(4 * dimensions)
            if len(header) < 4 * dimensions:
                raise ValueError(f"{path} is cut short in its header")
            shape = struct.unpack(f">{dimensions}I", header)
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise ValueError(f"{path} claims to hold {size} bytes, more than {MAX_BYTES}")
            content = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) != size:
        raise ValueError(f"{path} is {'cut short' if len(content) < size else 'too long'}: its header promises {size} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape).copy()
