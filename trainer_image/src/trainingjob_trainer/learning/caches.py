"""Buffers that forward makes and that are not saved: caches of a step. Effects: the model's buffers."""

from __future__ import annotations

from torch import nn


class NewCaches:
    """Those that the model does not have yet.

    Args:
        model: before a forward pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(module, {key: buffer is None for key, buffer in module._buffers.items()}) for module in model.modules()]

    def remove(self) -> None:
        """Take away the buffers with persistent=False that have come: each pass makes them anew, as that of a new worker does."""
        for module, known in self._modules:
            for key, buffer in list(module._buffers.items()):
                if buffer is None or key not in module._non_persistent_buffers_set or known.get(key) is False:
                    continue
                if key in known:
                    module._buffers[key] = None
                else:
                    delattr(module, key)
