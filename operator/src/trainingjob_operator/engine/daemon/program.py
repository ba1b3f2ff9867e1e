"""One operator: its caches, its lease and its passes, until a part of it ends. Effects.

kopf, informers, streams, timers ──▶ keyed queue ──▶ reconcile ──▶ the controller of the key's kind

Several may run. All of them watch, so each is ready to act; only the holder of the lease does.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import kopf

from trainingjob_operator.engine.cluster.controller import ClusterController
from trainingjob_operator.engine.cluster.informer import Informer, synced
from trainingjob_operator.engine.cluster.lease import RETRY_SECONDS, Elector
from trainingjob_operator.engine.cluster.writes import StaleError
from trainingjob_operator.engine.controller import reconcile
from trainingjob_operator.engine.daemon import handlers
from trainingjob_operator.engine.daemon.metrics import Metrics
from trainingjob_operator.engine.daemon.resync import Resync
from trainingjob_operator.engine.queue import WorkQueue
from trainingjob_operator.engine.settings import EngineSettings
from trainingjob_operator.engine.values import ResourceKey

LAG_SECONDS = 0.5
DEAF_SECONDS = 120.0
"""A watch that was not heard for so long is deaf."""


class Program:
    """One operator. It knows all resources as soon as it is ready; it acts only while it holds the lease."""

    def __init__(
        self,
        settings: EngineSettings,
        metrics_of: Metrics,
        controllers: Sequence[ClusterController[Any, Any]],
        queue: WorkQueue[ResourceKey],
        elector: Elector,
        resyncs: Sequence[Resync],
    ) -> None:
        """See `serve`."""
        self._settings = settings
        self._metrics = metrics_of
        self._controllers = {controller.objects.resource.kind: controller for controller in controllers}
        self._queue = queue
        self._elector = elector
        self._resyncs = tuple(resyncs)
        self._filled = asyncio.Event()
        self._acts = False

    def wake(self, key: ResourceKey) -> None:
        """A pass over this resource is worth making."""
        if self._acts:
            self._queue.add(key)

    async def pass_over(self, key: ResourceKey) -> float | None:
        """One pass over one resource; what the queue calls."""
        if self._elector.left() <= 0:
            return RETRY_SECONDS
        controller = self._controllers[key.kind]
        began = time.perf_counter()
        result = "error"
        try:
            after = await reconcile(controller, key, datetime.now(UTC))
            result = "done"
        except StaleError:
            after, result = 0.0, "stale"
        finally:
            self._metrics.passes.labels(result).inc()
            self._metrics.pass_seconds.observe(time.perf_counter() - began)
        if controller.objects.get(key) is None:
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
        parts: list[Coroutine[Any, Any, None]] = [informer.run() for informer in self._informers()]
        parts += [self._lead(), self._measure_lag(), self._watch_resources(kube, stop)]
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
            await asyncio.gather(*(controller.close() for controller in self._controllers.values()))

    def unready(self) -> str:
        """Why this operator is not ready; "" if it is, also where another one acts."""
        if not self._filled.is_set():
            return "the caches are being filled"
        silent = min((informer.heard for informer in self._informers()), default=math.inf)
        return "a watch is deaf" if any(resync.deaf for resync in self._resyncs) or time.monotonic() - silent > DEAF_SECONDS else ""

    async def _campaign(self) -> None:
        await self._filled.wait()
        await self._elector.run()

    async def _lead(self) -> None:
        """Know everything; once the lease is held know it anew, since the last holder wrote until then; and look again now and then."""
        await synced(self._informers())
        await self._fill()
        self._filled.set()
        await self._elector.leading.wait()
        await asyncio.gather(self._fill(), *(informer.renew() for informer in self._informers()))
        for controller in self._controllers.values():
            self._metrics.tell_of(controller.metrics)
        self._acts = True
        for controller in self._controllers.values():
            for key in controller.objects:
                self.wake(key)
        await asyncio.gather(*(resync.keep(self._settings.resync_seconds) for resync in self._resyncs))

    async def _fill(self) -> None:
        await asyncio.gather(*(resync.fill() for resync in self._resyncs))

    def _informers(self) -> Iterator[Informer[Any]]:
        return (informer for controller in self._controllers.values() for informer in controller.informers)

    async def _watch_resources(self, kube: Any, stop: asyncio.Event) -> None:
        await self._filled.wait()  # until then there may be no such kind of object, and kopf would never look again
        started = asyncio.Event()
        watching = kopf.operator(
            registry=handlers.registry((controller.objects for controller in self._controllers.values()), kube),
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
