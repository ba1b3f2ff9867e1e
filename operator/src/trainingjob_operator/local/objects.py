"""A job's children that are no pods: its Secret, its Service, and what is only kept so that it counts as made.

Effects: files, and a look for a free loopback port. It must not print a Secret; the files are readable by their owner alone.
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from trainingjob_operator.controllers.training_job.children import revision
from trainingjob_operator.controllers.training_job.state import Pinned
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.environment import LOOPBACK
from trainingjob_operator.local.folder import JobFolder

_PORTS = range(20000, 32000)
"""Below the kernel's ephemeral ports, so that no outgoing connection takes one that is kept for a rendezvous."""
_TRIES = 200
_PORT = "port"
"""The file with the port: it outlives the Service, since agents know no other."""


class LocalObjects:
    """The objects of one job, one file each."""

    def __init__(self, folder: JobFolder) -> None:
        self._job = folder
        self._folder = folder.objects

    def create(self, manifest: Manifest, *, pods: bool = False) -> None:
        """Keep an object; a Secret that is there already stays as it is. With a Service the job gets its port of the loopback.

        Args:
            manifest: the object.
            pods: the job has pods, which know the port that it had before.
        """
        path = self._path(manifest["kind"], manifest["metadata"]["name"])
        self._folder.mkdir(parents=True, exist_ok=True)
        if manifest["kind"] == "Service":
            known = self.port()
            if known is None or not (pods or is_free(known)):
                self._job.write(self._folder / _PORT, str(free_port()))
        if manifest["kind"] != "Secret" or not path.exists():
            self._job.write(path, json.dumps(manifest))

    def delete(self, kind: str, name: str) -> None:
        """Forget an object, if it is there."""
        self._path(kind, name).unlink(missing_ok=True)

    def names(self) -> frozenset[tuple[str, str]]:
        """(kind, name) of all."""
        return frozenset((manifest["kind"], manifest["metadata"]["name"]) for manifest in self._all())

    def secrets(self) -> dict[str, Manifest]:
        """The Secrets by name."""
        return {manifest["metadata"]["name"]: manifest for manifest in self._all() if manifest["kind"] == "Secret"}

    def pinned(self, name: str) -> Pinned | None:
        """What the ControllerRevision `name` keeps, if it is there."""
        path = self._path(revision.KIND, name)
        return revision.read(json.loads(path.read_text())) if name and path.exists() else None

    def port(self) -> int | None:
        """The loopback port of the job's Service, if it ever had one."""
        try:
            return int((self._folder / _PORT).read_text())
        except FileNotFoundError:
            return None

    def _all(self) -> list[Manifest]:
        return [json.loads(path.read_text()) for path in sorted(self._folder.glob("*.json"))]

    def _path(self, kind: str, name: str) -> Path:
        return self._folder / f"{kind}-{name}.json"


def free_port() -> int:
    """A port of the loopback on which nobody listens now.

    Raises:
        OSError: none was found.
    """
    for port in random.sample(_PORTS, _TRIES):
        if is_free(port):
            return port
    raise OSError(f"no free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}")


def is_free(port: int) -> bool:
    """Nobody listens on this port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
