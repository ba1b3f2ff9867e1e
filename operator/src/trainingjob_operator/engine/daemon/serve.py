"""The operator put together, and run until a signal or until a part of it dies. Effects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import SecretBytes

from trainingjob_operator.engine.cluster.api import Api, Unreachable, asked_pause, configuration
from trainingjob_operator.engine.cluster.controller import Make, Tools
from trainingjob_operator.engine.cluster.key import root_keys
from trainingjob_operator.engine.cluster.lease import RETRY_SECONDS, Elector
from trainingjob_operator.engine.daemon.config import Config
from trainingjob_operator.engine.daemon.metrics import Metrics
from trainingjob_operator.engine.daemon.program import Program
from trainingjob_operator.engine.daemon.resync import Resync
from trainingjob_operator.engine.daemon.web import Web
from trainingjob_operator.engine.queue import WorkQueue
from trainingjob_operator.engine.settings import EngineSettings
from trainingjob_operator.engine.values import ResourceKey

logger = logging.getLogger(__name__)


S = TypeVar("S", bound=EngineSettings)


async def serve(config: Config[S], environ: Mapping[str, str], stop: asyncio.Event, makers: Sequence[Make[S]]) -> None:
    """Run an operator with these controllers as `config` says, until `stop` is set. Its probes answer at once, and as long as it lives.

    Raises:
        Misconfigured: the operator's key is not as it must be.
        LostLeaseError: another operator acts.
        Exception: a part of the operator has died.
    """
    kube = await configuration(environ)
    metrics = Metrics()
    own, web = Api(kube, metrics.answered), Web(metrics)
    work = asyncio.create_task(_work(config, kube, own, metrics, web, stop, makers))
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
        await own.close()


async def _work(config: Config[S], kube: Any, own: Api, metrics: Metrics, web: Web, stop: asyncio.Event, makers: Sequence[Make[S]]) -> None:
    """`own` is for what the operator does for itself; what it does for resources is held to the lease."""
    newest, *older = [SecretBytes(key) for key in await _keys(own, config.namespace)]
    settings = config.settings.model_copy(update={"operator_key": newest, "older_keys": tuple(older)})
    elector = Elector(own, config.namespace, config.lease, config.pod, settings.lease_seconds)
    api = Api(kube, metrics.answered, elector.left)
    queue: WorkQueue[ResourceKey] = WorkQueue(lambda key: program.pass_over(key), expected=Unreachable, asks=asked_pause)
    tools = Tools(api, settings, lambda key: program.wake(key), lambda: elector.left() > 0)
    controllers = [make(tools) for make in makers]
    resyncs = [Resync(api, controller.objects, tools.wake, settings.namespaces) for controller in controllers]
    program = Program(settings, metrics, controllers, queue, elector, resyncs)
    web.unready, web.leads = program.unready, program.acts
    try:
        await program.run(kube, stop)
    finally:
        await api.close()


async def _keys(api: Api, namespace: str) -> tuple[bytes, ...]:
    while True:
        try:
            return await root_keys(api, namespace)
        except Unreachable as error:
            logger.warning("the operator's key cannot be had yet: %s", error or type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
