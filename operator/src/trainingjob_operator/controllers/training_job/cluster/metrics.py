"""The jobs' own figures for Prometheus, from their status. Pure."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from trainingjob_operator.controllers.training_job.cluster.known import KnownJob


def figures(known: Collection[KnownJob], streams: tuple[int, int]) -> Iterator[Metric]:
    """Yield what is measured of the jobs; `streams`: how many there are, and how many stand."""
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
    total, standing = streams
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
