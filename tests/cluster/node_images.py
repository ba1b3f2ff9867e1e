"""Bring images into the nodes from archive files: there is no registry."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import archive
from cluster.commands import run
from cluster.layout import NODES, STATE, Node

PAUSE = "localhost/pause:1"
COREDNS = "localhost/coredns:1"
VERSITYGW = "localhost/versitygw:1"


def pack_own(programs: Path, versitygw: Path) -> list[Path]:
    """Write the archives of the images that the cluster itself is made of: one static program each."""
    sources = {PAUSE: programs / "pause", COREDNS: programs / "coredns", VERSITYGW: versitygw}
    return [
        archive.pack(STATE / "images" / f"{source.name}.tar", image, {f"/{source.name}": source}, [f"/{source.name}"])
        for image, source in sources.items()
    ]


def load(archives: Iterable[Path], nodes: Iterable[Node] = NODES) -> None:
    """Import archives into nodes, at the same time into each; what a node already has is skipped.

    Raises:
        Failed: an archive is no image, or a node does not take it.
    """
    wanted = list(archives)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_load_all, wanted, node) for node in nodes]:
            done.result()


def _load_all(archives: list[Path], node: Node) -> None:
    """Import archives into one node, while nobody else does."""
    descriptor = os.open(node.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for file in archives:
            _load(file, node)
    finally:
        os.close(descriptor)


def _load(file: Path, node: Node) -> bool:
    """Import one archive into one node; whether it was new there."""
    held = _held(node)
    brought = archive.contents(file)
    if brought.items() <= held.items():
        return False
    run(["ctr", "--address", node.containerd, "--namespace", "k8s.io", "images", "import", file], timeout=900)
    _record(node).write_text(json.dumps(held | brought, indent=1))
    return True


def _record(node: Node) -> Path:
    return node.folder / "images.json"


def _held(node: Node) -> dict[str, str]:
    """The digest of every tag that was imported into a node."""
    return json.loads(_record(node).read_text()) if _record(node).exists() else {}
