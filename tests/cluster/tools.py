"""The programs that are built for the cluster: each build runs once, into the cache."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from cluster.commands import Failed
from cluster.layout import HERE

BUILD = HERE / "build.sh"
VERSITYGW = HERE.parent / "tools" / "versitygw.sh"


def programs() -> Path:
    """The folder of Kubernetes' programs, CoreDNS, Helm and pause."""
    return _built(BUILD)


def versitygw() -> Path:
    """The S3 server."""
    return _built(VERSITYGW)


def _built(script: Path) -> Path:
    """Run a build script, whose progress is shown, and whose answer is a path."""
    done = subprocess.run([str(script)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{script.name} failed with exit code {done.returncode}")
    return Path(done.stdout.strip())


def kubernetes_version() -> str:
    """The version that go.mod pins."""
    for line in (HERE / "go" / "kubernetes" / "go.mod").read_text().splitlines():
        if line.split()[:1] == ["k8s.io/kubernetes"]:
            return line.split()[1]
    raise Failed("go/kubernetes/go.mod names no k8s.io/kubernetes")


def stamp(built: Path) -> str:
    """What a running cluster was made by: another stamp means another cluster."""
    digest = hashlib.sha256(str(built).encode())
    for file in sorted([*HERE.glob("*.py"), *HERE.glob("manifests/*.yaml"), VERSITYGW]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
