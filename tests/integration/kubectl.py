"""kubectl as a user types it, with a home of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from integration.api_server import ApiServer
from integration.credentials import ADMIN


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class Kubectl:
    """Called with kubectl's arguments."""

    def __init__(self, program: Path, api_server: ApiServer, home: Path) -> None:
        self._program = program
        self._api_server = api_server
        self._home = home

    def __call__(self, *arguments: str, stdin: str | None = None, user: str = ADMIN, seconds: float = 60.0) -> Ended:
        """Run it to its end, as `user`."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._home), "KUBECONFIG": str(self._api_server.kubeconfig(user))}
        done = subprocess.run(
            [self._program, *arguments], input=stdin or "", env=environ, capture_output=True, text=True, timeout=seconds, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)
