"""One operator: its caches, its lease and its passes, until a part of it ends. Effects.

kopf, informers, streams, timers ──▶ keyed queue ──▶ reconcile ──▶ KubernetesCluster

Several may run. All of them watch, so each is ready to act; only the holder of the lease does.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import kopf

from trainingjob_operator.controllers.training_job.cluster.backend import KubernetesCluster, StaleError
from trainingjob_operator.controllers.training_job.cluster.children import synced
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import JobKey
from trainingjob_operator.engine.daemon import handlers
from trainingjob_operator.engine.daemon.metrics import Metrics
from trainingjob_operator.engine.daemon.resync import Resync
from trainingjob_operator.engine.lease import RETRY_SECONDS, Elector
from trainingjob_operator.engine.queue import WorkQueue
from trainingjob_operator.engine.reconcile import reconcile

LAG_SECONDS = 0.5
DEAF_SECONDS = 120.0
"""A watch that was not heard for so long is deaf."""


class Program:
    """One operator. It knows all jobs as soon as it is ready; it acts only while it holds the lease."""

    def __init__(
        self,
        settings: Settings,
        metrics_of: Metrics,
        cluster: KubernetesCluster,
        queue: WorkQueue[JobKey],
        elector: Elector,
        resync: Resync,
    ) -> None:
        """See `serve`."""
        self._settings = settings
        self._metrics = metrics_of
        self._cluster = cluster
        self._queue = queue
        self._elector = elector
        self._resync = resync
        self._filled = asyncio.Event()
        self._acts = False

    def wake(self, key: JobKey) -> None:
        """A pass over this job is worth making."""
        if self._acts:
            self._queue.add(key)

    async def pass_over(self, key: JobKey) -> float | None:
        """One pass over one job; what the queue calls."""
        if self._elector.left() <= 0:
            return RETRY_SECONDS
        began = time.perf_counter()
        result = "error"
        try:
            after = await reconcile(self._cluster, key, self._settings, datetime.now(UTC))
            result = "done"
        except StaleError:
            after, result = 0.0, "stale"
        finally:
            self._metrics.passes.labels(result).inc()
            self._metrics.pass_seconds.observe(time.perf_counter() - began)
        if self._cluster.jobs.get(key) is None:
            self._queue.forget(key)
        return after

    def acts(self) -> bool:
        """This operator acts, and not another one."""
        return self._acts and self._elector.left() > 0

    async def run(self, kube: Any, stop: asyncio.Event) -> None:
        """Run until a part of it ends.

        Raises:
            LostLeaseError: another operator acts.
            Exception: a part of the operator has died; the whole is to be started again.
        """
        parts: list[Coroutine[Any, Any, None]] = [informer.run() for informer in self._cluster.children.informers]
        parts += [self._lead(), self._measure_lag(), self._watch_jobs(kube, stop)]
        campaign, *others = tasks = [asyncio.create_task(part) for part in (self._campaign(), *parts)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._acts = False
            await self._queue.close()
            await _cancelled(campaign)
            await self._elector.release()  # now that nothing is acted on any more, and before anything that takes its time
            await _cancelled(*others)
            await self._cluster.close()

    def unready(self) -> str:
        """Why this operator is not ready; "" if it is, also where another one acts."""
        if not self._filled.is_set():
            return "the caches are being filled"
        silent = min(informer.heard for informer in self._cluster.children.informers)
        return "a watch is deaf" if self._resync.deaf or time.monotonic() - silent > DEAF_SECONDS else ""

    async def _campaign(self) -> None:
        await self._filled.wait()
        await self._elector.run()

    async def _lead(self) -> None:
        """Know everything; once the lease is held know it anew, since the last holder wrote until then; and look again now and then."""
        await synced(self._cluster.children)
        await self._resync.fill()
        self._filled.set()
        await self._elector.leading.wait()
        await asyncio.gather(self._resync.fill(), *(informer.renew() for informer in self._cluster.children.informers))
        self._metrics.tell_of(self._cluster.jobs.all, self._cluster.streams)
        self._acts = True
        for job in self._cluster.jobs.all():
            self.wake(job.key)
        await self._resync.keep(self._settings.resync_seconds)

    async def _watch_jobs(self, kube: Any, stop: asyncio.Event) -> None:
        await self._filled.wait()  # until then there may be no such kind of object, and kopf would never look again
        started = asyncio.Event()
        watching = kopf.operator(
            registry=handlers.registry(self._cluster.jobs, kube),
            settings=handlers.settings(),
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            standalone=True,
            ready_flag=started,
        )
        task = asyncio.create_task(watching)
        try:
            await asyncio.wait((task, asyncio.create_task(started.wait())), return_when=asyncio.FIRST_COMPLETED)
            end_on_signals(stop)  # kopf has taken them; it would wait for everybody's tasks to end by themselves
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_SECONDS)
            self._metrics.lag.observe(max(0.0, time.monotonic() - before - LAG_SECONDS))


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def end_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set `stop`. In a container nothing else would end the process: its number is 1."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
