"""Run a program and wait for it: on the machine, or in a node's network."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence

from cluster.layout import Node


class Failed(Exception):
    """A step of the cluster did not work; the message says which and why."""


def path() -> str:
    """Where programs are sought: root's own may be missing from an ordinary PATH."""
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def run(argv: Sequence[object], *, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
    """Run a program and give its output.

    Raises:
        Failed: it ended badly, or not in time; what it printed is in the message.
    """
    words = [str(word) for word in argv]
    try:
        environ = {**os.environ, "PATH": path()}
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=environ)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(words)}: not done after {timeout:g} s") from late
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def in_network(node: Node, argv: Sequence[object]) -> list[object]:
    """The same program, in the node's network.

    Not `ip netns exec`: that mounts /sys anew, and the cgroups under it are lost.
    """
    return ["nsenter", f"--net={node.namespace}", *argv]


def wait_for(what: str, ready: Callable[[], bool], *, seconds: float = 60, pause: float = 0.2) -> None:
    """Ask again and again until it is so.

    Raises:
        Failed: it never was, in that time.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise Failed(f"not so after {seconds:g} s: {what}")
        time.sleep(pause)
