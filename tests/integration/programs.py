"""The programs that this ring of tests runs, where there are any. It builds nothing: a test's time is no time to build."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

SINCE = " are left out, since "
LEFT_OUT = "the tests on a real kube-apiserver and etcd" + SINCE + "{} is missing: `{}` gets it"


@dataclass(frozen=True)
class Programs:
    """Where they are."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


class Missing(LookupError):
    """A program is not there; the message is for a person."""


def find() -> Programs:
    """The programs.

    Raises:
        Missing: when one is not there.
    """
    return Programs(etcd=_on_path("etcd"), kube_apiserver=_built("kube-apiserver"), kubectl=_built("kubectl"))


def _on_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise Missing(LEFT_OUT.format(name, "apt-get install etcd-server"))
    return Path(found)


def _built(name: str) -> Path:
    """The newest of those in the cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("TRAININGJOB_CACHE") or Path(base) / "trainingjob")
    found = sorted(cache.glob(f"cluster/[!.]*/bin/{name}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Missing(LEFT_OUT.format(name, "make cluster-tools"))
    return found[-1]
