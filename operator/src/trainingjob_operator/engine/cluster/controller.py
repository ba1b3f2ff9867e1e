"""What the program gives a controller of a kind on an API server, and what it asks of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client.core import Metric

from trainingjob_operator.engine.cluster.api import Api
from trainingjob_operator.engine.cluster.informer import Informer
from trainingjob_operator.engine.controller import Controller, Planned
from trainingjob_operator.engine.objects import Objects
from trainingjob_operator.engine.settings import EngineSettings
from trainingjob_operator.engine.values import ResourceKey

T = TypeVar("T", bound=EngineSettings, covariant=True)


@dataclass(frozen=True)
class Tools(Generic[T]):
    """What a controller works with."""

    api: Api
    """Its writes are held to the lease."""
    settings: T
    wake: Callable[[ResourceKey], None]
    """Asks for a pass."""
    may_act: Callable[[], bool]
    """This operator holds the lease, and is sure of it."""


S = TypeVar("S")
P = TypeVar("P", bound=Planned)


class ClusterController(Controller[S, P], Protocol[S, P]):
    """The controller of one kind on an API server."""

    @property
    def objects(self) -> Objects[Any]:
        """What is known of the resources; the program feeds it."""

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """What else is watched; the program runs them."""

    def metrics(self) -> Iterable[Metric]:
        """Return what Prometheus is to know of the resources."""

    async def close(self) -> None:
        """End what the controller has open; the resources go on."""


Make = Callable[[Tools[T]], ClusterController[Any, Any]]
"""Makes a controller."""
