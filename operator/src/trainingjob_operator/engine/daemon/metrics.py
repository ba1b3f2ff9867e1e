"""What Prometheus is told. Effect: counters in memory."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainingjob_operator.engine.objects import KnownJob

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

    def tell_of(self, jobs: Callable[[], Iterable[KnownJob]], streams: Callable[[], tuple[int, int]]) -> None:
        """From now on, ask `jobs` and `streams` when Prometheus asks."""
        self._registry.register(_JobCollector(jobs, streams))

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


class _JobCollector(Collector):
    """The jobs' own figures, from their status."""

    def __init__(self, jobs: Callable[[], Iterable[KnownJob]], streams: Callable[[], tuple[int, int]]) -> None:
        self._jobs = jobs
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        known = list(self._jobs())
        phases = GaugeMetricFamily("trainingjob_jobs", "Jobs by phase.", labels=["phase"])
        for phase, count in Tally(job.job.status.phase or "Pending" for job in known).items():
            phases.add_metric([phase], count)
        yield phases
        for name, text, read in _FIGURES:
            family = GaugeMetricFamily(name, text, labels=["namespace", "name"])
            for job in known:
                value = read(job)
                if value is not None:
                    family.add_metric([job.key.namespace, job.key.name], value)
            yield family
        total, standing = self._streams()
        yield GaugeMetricFamily("trainingjob_operator_streams", "Streams to rendezvous that are wanted.", value=total)
        yield GaugeMetricFamily("trainingjob_operator_streams_standing", "Those that stand.", value=standing)


_FIGURES: tuple[tuple[str, str, Callable[[KnownJob], float | None]], ...] = (
    ("trainingjob_step", "The last finished step.", lambda known: known.job.status.step),
    ("trainingjob_loss", "The training loss.", lambda known: known.job.status.loss),
    ("trainingjob_workers_ready", "Workers that train.", lambda known: known.job.status.ready_workers),
    ("trainingjob_workers_wanted", "Workers that should train.", lambda known: known.job.status.wanted_workers),
    ("trainingjob_restarts", "Workers and training processes started again.", lambda known: known.job.status.restarts),
    ("trainingjob_checkpoint_step", "Step of the newest checkpoint.", lambda known: known.job.status.checkpoint),
    ("trainingjob_samples_per_second", "Samples of all workers in a second.", lambda known: known.job.status.samples_per_second),
)
