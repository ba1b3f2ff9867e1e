"""Who of several operators acts: a Lease, held by one. Effect: a few calls.

The client's own elector has holes (a hung request outlives the lease; an error leaves the leader's work running), so this is another
one, by the rules of Kubernetes' own components (client-go, tools/leaderelection). Time is this machine's alone: a lease is free when its
record has not changed for its duration *as seen from here*. A holder acts for two thirds of that after it has begun to renew, and not a
moment longer, so it has stopped before anybody else begins. One that could not renew goes on when it can again, if nobody has written to
the lease meanwhile: an API server that is away makes nobody restart. Whoever finds another's name there ends its process.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

from trainingjob_operator.engine.cluster.api import Api, ApiError, Unreachable
from trainingjob_operator.engine.resources import LEASES
from trainingjob_operator.engine.values import Manifest

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
_SURE = 2 / 3
"""The part of the duration, from the beginning of a renewal, in which the holder may act."""
_RENEWALS = 5
"""Renewals in a duration."""


def machine_seconds() -> float:
    """Time that goes on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LostLeaseError(Exception):
    """Another operator holds the lease."""


class Elector:
    """One candidate."""

    def __init__(self, api: Api, namespace: str, name: str, pod: str, seconds: float, clock: Callable[[], float] = machine_seconds) -> None:
        """For the Lease `name`, held for `seconds` at a time.

        `api` must be its own: a renewal is never to wait behind other calls. `pod` is never two processes' name at once, so
        a lease that its last process has left behind is taken over without waiting.
        """
        self._api = api
        self._namespace = namespace
        self._name = name
        self._pod = pod
        self._identity = f"{pod}_{secrets.token_hex(4)}"
        self._seconds = seconds
        self._turn = seconds / _RENEWALS
        self._clock = clock
        self._lease: Manifest | None = None
        self._version = ""
        """Up to which the lease has been seen."""
        self._changed_at = clock()
        self._seen = False
        """There has been a lease."""
        self._renewed_at: float | None = None
        self.leading = asyncio.Event()
        """Set once, when this operator begins to act."""

    def left(self) -> float:
        """Seconds for which this operator may act; 0 or less: not now."""
        return 0.0 if self._renewed_at is None else self._renewed_at + self._seconds * _SURE - self._clock()

    async def run(self) -> None:
        """Wait for the lease, then hold it; never returns.

        Raises:
            LostLeaseError: it was held, and is another's now.
        """
        while not await self._campaign():
            pass
        logger.info("this operator leads")
        self.leading.set()
        while True:
            await self._renew()

    async def release(self) -> None:
        """Leave in order: the next one need not wait. To be called when `run` has ended."""
        if self.left() <= 0:
            return
        self._renewed_at = None
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await self._write("")
        except (*Unreachable, LostLeaseError) as error:
            logger.warning("the lease could not be given back: %s", error or type(error).__name__)

    async def _campaign(self) -> bool:
        """Look, and take the lease if it is free; whether it is ours."""
        try:
            await self._look()
            if self._free_in() <= 0:
                await self._hold()
                return True
            await self._follow()
        except LostLeaseError:
            logger.info("another operator was quicker")
        except Unreachable as error:
            logger.warning("the lease cannot be had: %s", error or type(error).__name__)
            self._changed_at = self._clock()  # the holder cannot renew either, and is not dead for that
            await asyncio.sleep(RETRY_SECONDS)
        return False

    async def _renew(self) -> None:
        """Hold the lease once more, now or when that is possible again.

        Raises:
            LostLeaseError: it is another's.
        """
        await asyncio.sleep(self._turn)
        failed = False
        while True:
            try:
                await self._hold()
                return
            except Unreachable as error:
                logger.log(
                    logging.DEBUG if failed else logging.WARNING, "the lease could not be renewed: %s", error or type(error).__name__
                )
                failed = True
                await asyncio.sleep(min(RETRY_SECONDS, self._turn / 3))

    async def _hold(self) -> None:
        """Write this operator's name, in one turn; from the beginning of that it may act."""
        began = self._clock()
        async with asyncio.timeout(self._turn):
            await self._write(self._identity)
        self._renewed_at = began

    def _free_in(self) -> float:
        """Seconds until the lease is free, as far as is known. One that somebody has deleted may still have a holder who does not know."""
        spec = {} if self._lease is None else self._lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if self._lease is None and self._seen:
            return self._changed_at + self._seconds - self._clock()
        if not holder or holder.rpartition("_")[0] == self._pod:
            return 0.0
        return float(self._changed_at + (spec.get("leaseDurationSeconds") or self._seconds) - self._clock())

    async def _look(self) -> None:
        """By a list, whose version a watch can begin at however old the lease is."""
        path, query = LEASES.path(self._namespace), urlencode({"fieldSelector": f"metadata.name={self._name}"})
        seen = await self._api.call("GET", path, query=query)
        self._version = seen["metadata"]["resourceVersion"]
        self._note(next(iter(seen.get("items") or ()), None))

    def _note(self, lease: Manifest | None) -> None:
        if _version(lease) != _version(self._lease):
            self._lease, self._changed_at = lease, self._clock()
            self._seen = self._seen or lease is not None

    async def _follow(self) -> None:
        """Until the lease seems to be free. It is looked at again before it is taken: this watch may have been deaf."""
        query = {"watch": "true", "fieldSelector": f"metadata.name={self._name}", "resourceVersion": self._version}
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._free_in()) as limit:
                async for event in self._api.watch(LEASES.path(self._namespace), urlencode(query)):
                    if event["type"] == "ERROR":
                        return
                    self._note(None if event["type"] == "DELETED" else event["object"])
                    if self._free_in() <= 0:
                        return
                    limit.reschedule(loop.time() + self._free_in())
        except TimeoutError:
            return

    async def _write(self, holder: str) -> None:
        """Make the lease say who holds it, if it is still as it was seen. Not bounded in time: the caller does that.

        Raises:
            LostLeaseError: somebody else has written to it.
        """
        while True:
            body = _manifest(self._lease, self._namespace, self._name, holder, self._seconds)
            path = LEASES.path(self._namespace, None if self._lease is None else self._name)
            try:
                self._note(await self._api.call("POST" if self._lease is None else "PUT", path, body=body))
                return
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
            await self._look()
            # It may have been removed, or the answer to an earlier write of ours was lost: then once more.
            found = "" if self._lease is None else self._lease["spec"].get("holderIdentity") or ""
            if found not in ("", self._identity):
                raise LostLeaseError(f"{found} holds the lease {self._namespace}/{self._name}")


def _manifest(before: Manifest | None, namespace: str, name: str, holder: str, seconds: float) -> Manifest:
    spec = {} if before is None else before.get("spec") or {}
    changes = bool(holder) and spec.get("holderIdentity") != holder
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"name": name, "namespace": namespace} if before is None else before["metadata"],
        "spec": spec
        | {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(seconds)),
            "acquireTime": now if changes else spec.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (changes and before is not None),
        },
    }


def _version(lease: Manifest | None) -> str:
    return "" if lease is None else str(lease["metadata"]["resourceVersion"])
