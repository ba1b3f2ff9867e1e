"""What Prometheus is told. Effect: counters in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PASS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_LAG_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0)


class Metrics:
    """All metrics of one operator."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.passes = Counter("trainingjob_operator_passes", "Passes over jobs, by how they ended.", ["result"], registry=self._registry)
        self.pass_seconds = Histogram(
            "trainingjob_operator_pass_seconds", "Time of one pass over one job.", buckets=_PASS_BUCKETS, registry=self._registry
        )
        self.requests = Counter(
            "trainingjob_operator_api_requests",
            "Calls to the API server (code 0: no answer).",
            ["method", "resource", "code"],
            registry=self._registry,
        )
        self.lag = Histogram(
            "trainingjob_operator_loop_lag_seconds", "Delay of the event loop.", buckets=_LAG_BUCKETS, registry=self._registry
        )
        self.ready = Gauge("trainingjob_operator_ready", "1: all caches are filled and fresh.", registry=self._registry)
        self.leads = Gauge("trainingjob_operator_leads", "1: this operator acts; the others stand by.", registry=self._registry)

    def tell_of(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """From now on, ask `collect` when Prometheus asks."""
        self._registry.register(_Figures(collect))

    def answered(self, method: str, path: str, status: int) -> None:
        """The API server has answered a call."""
        self.requests.labels(method, _resource(path), str(status)).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


def _resource(path: str) -> str:
    """pods of /api/v1/namespaces/x/pods/y, trainingjobs/status of …/trainingjobs/y/status."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"]:
        parts = parts[2:]
    return "/".join([*parts[:1], *parts[2:3]])


class _Figures(Collector):
    """What a controller tells of its resources, asked for when Prometheus asks."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()
