"""Tensors as runs of bytes, whatever their shape, type and layout in memory. Effects: the tensors given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainingjob_trainer.checkpoint.shares import Extent

DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The types that can be saved, by safetensors' names."""


class Named(NamedTuple):
    """A tensor of the state and what it is called."""

    name: str
    tensor: Tensor

    @property
    def dtype(self) -> str:
        """safetensors' name of the type.

        Raises:
            ValueError: it cannot be saved.
        """
        if self.tensor.dtype not in DTYPES:
            raise ValueError(
                f"spec.training.task.class: {self.name} is of type {self.tensor.dtype}, which cannot be saved; use another type"
            )
        return DTYPES[self.tensor.dtype]

    @property
    def extent(self) -> Extent:
        """Its size."""
        return Extent(self.tensor.numel(), self.tensor.element_size())


def listed(tensors: Mapping[str, Tensor]) -> list[Named]:
    """In the mapping's order."""
    return [Named(name, tensor) for name, tensor in tensors.items()]


def read_bytes(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Elements start … stop-1, in row-major order, as uint8. A view where the memory allows it."""
    return tensor.detach().reshape(-1)[start:stop].contiguous().view(torch.uint8)


@torch.no_grad()
def write_bytes(tensor: Tensor, start: int, stop: int, data: Tensor) -> None:
    """Set elements start … stop-1 from uint8 of any alignment."""
    if tensor.is_contiguous():
        tensor.detach().view(-1)[start:stop].view(torch.uint8).copy_(data)
        return
    whole = tensor.detach().reshape(-1).contiguous()  # a copy
    whole[start:stop].view(torch.uint8).copy_(data)
    tensor.copy_(whole.view(tensor.shape))
