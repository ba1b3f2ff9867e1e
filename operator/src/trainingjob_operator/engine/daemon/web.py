"""Probes and metrics over HTTP. Effect: one listening port.

Alive means that the event loop turns and no task has died; ready that all caches have been filled and the API server was heard lately. An
API server that is away makes nobody restart.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from trainingjob_operator.engine.daemon.metrics import CONTENT_TYPE, Metrics


class Web:
    """Serves /healthz, /readyz and /metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self.unready: Callable[[], str] = lambda: "the operator's key is not there yet"
        """Says why the operator is not ready; "" if it is."""
        self.leads: Callable[[], bool] = lambda: False
        """Says whether the operator acts."""
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> int:
        """Listen; the port, which was chosen freely if `port` is 0."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._text)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")  # that it is answered is the answer

    async def _readyz(self, _: web.Request) -> web.Response:
        why = self.unready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def _text(self, _: web.Request) -> web.Response:
        self._metrics.ready.set(0 if self.unready() else 1)
        self._metrics.leads.set(self.leads())
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})
