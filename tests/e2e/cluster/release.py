"""The product in the cluster: both charts, with the images of this working tree."""

from __future__ import annotations

import os
from pathlib import Path

from e2e.cluster.kube import Kube
from local_job import ROOT

NAMESPACE = "trainingjob-system"
RELEASE = "trainingjob"
DEPLOYMENT = "trainingjob-trainingjob-operator"


def cache() -> Path:
    """Where `make images` leaves its work."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TRAININGJOB_CACHE") or Path(base) / "trainingjob")


def reference(name: str) -> tuple[str, str]:
    """Repository and tag of an image of the working tree."""
    written = os.environ.get(f"TRAININGJOB_E2E_{name.upper()}_IMAGE") or (cache() / "images" / f"{name}.ref").read_text()
    repository, _, tag = written.strip().rpartition(":")
    return repository, tag


def install(kube: Kube, **values: str | int) -> None:
    """Install or upgrade both charts, and wait until the operator is ready."""
    made = kube.attempt("kubectl", "create", "namespace", NAMESPACE)
    assert made.returncode == 0 or "AlreadyExists" in made.stderr, made.stderr
    kube.run("kubectl", "label", "--overwrite", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    kube.run("helm", "upgrade", "--install", "trainingjob-crds", str(ROOT / "helm/trainingjob-crds"), "-n", NAMESPACE)
    (operator, tag), (trainer, trainer_tag) = reference("operator"), reference("trainer")
    chosen: dict[str, str | int] = {
        "image.repository": operator,
        "image.tag": tag,
        "trainerImage.repository": trainer,
        "trainerImage.tag": trainer_tag,
    } | values
    if kube.audit_log is not None:
        chosen["nodeSelector.kubernetes\\.io/hostname"] = "node-0"  # a test cuts the other one off
    flags = [word for name, value in chosen.items() for word in ("--set" if isinstance(value, int) else "--set-string", f"{name}={value}")]
    chart = str(ROOT / "helm/trainingjob-operator")
    kube.run("helm", "upgrade", "--install", RELEASE, chart, "-n", NAMESPACE, *flags, "--wait", "--timeout", "180s", seconds=240)
