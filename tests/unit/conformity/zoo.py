"""All specimens, by name."""

from __future__ import annotations

from unit.conformity.models import buffers, gradients, layers, moved, norms, types
from unit.conformity.specimen import Specimen

_MODULES = (layers, norms, gradients, types, moved, buffers)
ZOO: dict[str, Specimen] = {specimen.name: specimen for module in _MODULES for specimen in module.SPECIMENS}
assert len(ZOO) == sum(len(module.SPECIMENS) for module in _MODULES), "two specimens have one name"
