"""`python -m bench.scale.rendezvous FILE`: the rendezvous of many jobs in one process, as their operator sees them. Effect: two ports.

Each job has its own certificate and tokens, derived as the operator derives them; which one is meant, TLS tells. All of a job's workers
are members and train, and every second the step is another one: the seconds that this process has lived.

FILE holds {"key": base64, "port": …, "figures": …, "jobs": [[namespace, name, uid], …]}; at the port `figures`, over HTTP, is told how many
streams stand, and the step.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from trainingjob_api.contract.intent import INTENT, Intent, MemberView, Report
from trainingjob_api.contract.messages import GenerationId, Stage
from trainingjob_api.contract.tls import server_context
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.identity import Identity, derive

TOTAL_STEPS = 1_000_000


class Crowd:
    """All of them."""

    def __init__(self, told: dict[str, Any]) -> None:
        key = base64.b64decode(told["key"])
        self._identities = {f"{names.base(name, uid)}.{namespace}.svc": derive(key, uid) for namespace, name, uid in told["jobs"]}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._began = time.monotonic()
        self._standing: set[str] = set()

    def context(self) -> ssl.SSLContext:
        """Changes into the job's own as soon as its name is heard."""
        first = self._own(next(iter(self._identities)))

        def chosen(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            if name not in self._identities:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = self._own(name)
            return None

        first.sni_callback = chosen  # type: ignore[assignment]
        return first

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One operator's stream to one job."""
        name = request.host.rpartition(":")[0]
        if request.headers.get("Authorization") != f"Bearer {self._identities[name].operator_token}":
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        teller: asyncio.Task[None] | None = None
        self._standing.add(name)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    if teller is not None:
                        teller.cancel()
                    teller = asyncio.create_task(self._tell(socket, INTENT.validate_json(message.data)))
        finally:
            self._standing.discard(name)
            if teller is not None:
                teller.cancel()
        return socket

    async def figures(self, _: web.Request) -> web.Response:
        """What the measurement asks."""
        return web.json_response({"standing": len(self._standing), "step": time.monotonic() - self._began})

    def _own(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            identity: Identity = self._identities[name]
            self._contexts[name] = server_context(identity.certificate_pem, identity.private_key_pem)
        return self._contexts[name]

    async def _tell(self, socket: web.WebSocketResponse, intent: Intent) -> None:
        while not socket.closed:
            step = int(time.monotonic() - self._began)
            await socket.send_str(report(intent, step).model_dump_json())
            await asyncio.sleep(1.0)


def report(intent: Intent, step: int) -> Report:
    """Everybody trains, and is at this step."""
    return Report(
        epoch=intent.epoch,
        attempt=intent.attempt,
        generation=GenerationId(attempt=intent.attempt, epoch=intent.epoch, n=1),
        stage=Stage.RUNNING,
        reason="all workers are there",
        world=len(intent.workers),
        members=tuple(MemberView(worker=seat.worker, incarnation=seat.incarnation, phase="Stepping", step=step) for seat in intent.workers),
        step=step,
        total_steps=TOTAL_STEPS,
        loss=1.0 / (1 + step),
        samples_per_second=100.0 + step % 7,
        training_seconds=float(step),
    )


async def main(file: Path) -> None:
    """Serve until killed."""
    told = json.loads(file.read_text())
    crowd = Crowd(told)
    streams, figures = web.Application(), web.Application()
    streams.router.add_get("/v1/operator", crowd.serve)
    figures.router.add_get("/", crowd.figures)
    for application, port, context in ((streams, told["port"], crowd.context()), (figures, told["figures"], None)):
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
