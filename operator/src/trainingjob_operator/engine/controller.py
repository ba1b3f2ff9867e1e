"""One pass over one resource: observe, plan, act. Effect; every trigger comes here, and none of them matters to it.

    observe (effect) -> seen -> plan (pure) -> plan -> act (effect)

A controller is these three for one kind. The engine knows neither what is seen nor what is planned.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypeVar

from trainingjob_operator.engine.values import ResourceKey


class Planned(Protocol):
    """What the engine asks of a plan."""

    @property
    def requeue_after(self) -> float | None:
        """Seconds until the next pass, if nothing happens before."""


S = TypeVar("S")
"""What is seen."""
P = TypeVar("P", bound=Planned)
"""What is planned."""


class Controller(Protocol[S, P]):
    """One kind of resource, over whatever holds it: an API server, or a folder and local processes."""

    async def observe(self, key: ResourceKey) -> S | None:
        """Return what there is now; None if the resource is gone."""

    def plan(self, seen: S, now: datetime) -> P:
        """Return what is to be done. Pure, total, and idempotent: after its effects there is nothing to do."""

    async def act(self, key: ResourceKey, seen: S, plan: P) -> None:
        """Carry the plan out. Raises on failure; the next pass looks again."""


async def reconcile(controller: Controller[S, P], key: ResourceKey, now: datetime) -> float | None:
    """Bring the resource closer to what is wanted.

    Returns:
        Seconds until the next pass, or None if only an event calls for one, or the resource is gone.

    Raises:
        Whatever the controller raises; the queue tries again.
    """
    seen = await controller.observe(key)
    if seen is None:
        return None
    decided = controller.plan(seen, now)
    await controller.act(key, seen, decided)
    return decided.requeue_after
