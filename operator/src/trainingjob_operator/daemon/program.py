"""The operator: everything put together, and run until a signal or until a part of it dies. Effects.

kopf, informers, streams, timers ──▶ keyed queue ──▶ reconcile ──▶ KubernetesCluster
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import kopf
from pydantic import SecretBytes

from trainingjob_operator.cluster.api import METADATA_LIST_ONLY, Api, Unreachable, asked_pause, configuration
from trainingjob_operator.cluster.backend import KubernetesCluster, StaleError
from trainingjob_operator.cluster.children import synced
from trainingjob_operator.cluster.informer import PAGE, version_of
from trainingjob_operator.cluster.key import root_key
from trainingjob_operator.cluster.resources import TRAINING_JOBS
from trainingjob_operator.daemon import handlers
from trainingjob_operator.daemon.config import Config
from trainingjob_operator.daemon.metrics import Metrics
from trainingjob_operator.daemon.web import Web
from trainingjob_operator.queue import WorkQueue
from trainingjob_operator.reconcile import reconcile
from trainingjob_operator.state import JobKey

logger = logging.getLogger(__name__)

LAG_SECONDS = 0.5
DEAF_SECONDS = 120.0
"""A watch that was not heard for so long is deaf."""


class Program:
    """One operator."""

    def __init__(self, config: Config, api: Api, metrics_of: Metrics, cluster: KubernetesCluster, queue: WorkQueue[JobKey]) -> None:
        """See `serve`."""
        self._config = config
        self._api = api
        self._metrics = metrics_of
        self._cluster = cluster
        self._queue = queue
        self._swept = asyncio.Event()

    async def pass_over(self, key: JobKey) -> float | None:
        """One pass over one job; what the queue calls."""
        await self._swept.wait()
        began = time.perf_counter()
        result = "error"
        try:
            after = await reconcile(self._cluster, key, self._config.settings, datetime.now(UTC))
            result = "done"
        except StaleError:
            after, result = 0.0, "stale"
        finally:
            self._metrics.passes.labels(result).inc()
            self._metrics.pass_seconds.observe(time.perf_counter() - began)
        if self._cluster.jobs.get(key) is None:
            self._queue.forget(key)
        return after

    async def run(self, kube: Any, stop: asyncio.Event) -> None:
        """Run until a part of it ends.

        Raises:
            Exception: a part of the operator has died; the whole is to be started again.
        """
        parts: list[Coroutine[Any, Any, None]] = [informer.run() for informer in self._cluster.children.informers]
        parts += [self._sweep(), self._measure_lag(), self._watch_jobs(kube, stop)]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._queue.close()
            await self._cluster.close()

    def unready(self) -> str:
        """Why this operator is not ready; "" if it is."""
        if not self._swept.is_set():
            return "the caches are being filled"
        silent = min(informer.heard for informer in self._cluster.children.informers)
        return "a watch is deaf" if time.monotonic() - silent > DEAF_SECONDS else ""

    async def _watch_jobs(self, kube: Any, stop: asyncio.Event) -> None:
        await self._swept.wait()  # until then there may be no such kind of object, and kopf would never look again
        started = asyncio.Event()
        watching = kopf.operator(
            registry=handlers.registry(self._cluster.jobs, kube),
            settings=handlers.settings(),
            clusterwide=True,
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

    async def _sweep(self) -> None:
        """Compare the known jobs with those that there are, now and then: kopf never tells of a deletion that it has missed."""
        await synced(self._cluster.children)
        while True:
            try:
                await self._compare()
                self._swept.set()
                await asyncio.sleep(self._config.settings.resync_seconds)
            except Unreachable as error:
                logger.warning("the jobs cannot be listed: %s", error or type(error).__name__)
                await asyncio.sleep(1.0)

    async def _compare(self) -> None:
        known = {job.key: job for job in self._cluster.jobs.all()}
        found: set[JobKey] = set()
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = await self._api.call("GET", TRAINING_JOBS.path(), query=urlencode(query), accept=METADATA_LIST_ONLY)
            found |= {JobKey(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page.get("items") or ()}
            query["continue"] = page["metadata"].get("continue")
            if not query["continue"]:
                break
        for key, job in known.items():
            if key not in found and job.version <= version_of(page):
                self._cluster.jobs.drop(key, job.job.metadata.uid)
            else:
                self._queue.add(key)

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_SECONDS)
            self._metrics.lag.observe(max(0.0, time.monotonic() - before - LAG_SECONDS))


def end_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set `stop`. In a container nothing else would end the process: its number is 1."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def serve(config: Config, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Run an operator as `config` says, until `stop` is set. Its probes answer at once, and as long as it lives.

    Raises:
        Misconfigured: the operator's key is not as it must be.
        Exception: a part of the operator has died.
    """
    kube = await configuration(environ)
    metrics = Metrics()
    api, web = Api(kube, metrics.answered), Web(metrics)
    work = asyncio.create_task(_work(config, kube, api, metrics, web, stop))
    stopped = asyncio.create_task(stop.wait())
    try:
        port = await web.start(config.address, config.port)
        logger.info("probes and metrics on %s:%d", config.address, port)
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        stopped.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        await web.close()
        await api.close()


async def _work(config: Config, kube: Any, api: Api, metrics: Metrics, web: Web, stop: asyncio.Event) -> None:
    config = _keyed(config, await _key(api, config.namespace))
    queue: WorkQueue[JobKey] = WorkQueue(lambda job: program.pass_over(job), expected=Unreachable, asks=asked_pause)
    cluster = KubernetesCluster(api, config.settings, queue.add)
    program = Program(config, api, metrics, cluster, queue)
    metrics.tell_of(cluster.jobs.all, cluster.streams)
    web.unready = program.unready
    await program.run(kube, stop)


async def _key(api: Api, namespace: str) -> bytes:
    while True:
        try:
            return await root_key(api, namespace)
        except Unreachable as error:
            logger.warning("the operator's key cannot be had yet: %s", error or type(error).__name__)
            await asyncio.sleep(1.0)


def _keyed(config: Config, key: bytes) -> Config:
    settings = config.settings.model_copy(update={"operator_key": SecretBytes(key)})
    return Config(settings, config.namespace, config.address, config.port, config.log_level)
