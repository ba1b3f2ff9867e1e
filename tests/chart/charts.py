"""The charts, as the real helm renders them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "helm" / "trainingjob-crds"
OPERATOR = ROOT / "helm" / "trainingjob-operator"
RELEASE = "trainingjob-operator"
NAMESPACE = "trainingjob-system"
KUBERNETES = "1.35.4"
"""Without a cluster helm has to be told: built from source it takes 1.20 for granted."""

MISSING = "the charts' tests are left out, since helm is missing: `make cluster-tools` gets it"

Manifest = dict[str, Any]


def load(path: Path) -> Any:
    """A YAML file."""
    return YAML(typ="safe").load(path)


def find_helm() -> str:
    """The test cluster's helm, or else the one on PATH. Without any the test is left out here, and fails in CI."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("TRAININGJOB_CACHE") or Path(base) / "trainingjob")
    built = sorted(cache.glob("cluster/[!.]*/bin/helm"), key=lambda path: path.stat().st_mtime)
    found = built[-1] if built else shutil.which("helm")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)
    return str(found)


class Objects:
    """What a chart renders to."""

    def __init__(self, text: str) -> None:
        self.all: list[Manifest] = [found for found in YAML(typ="safe").load_all(text) if found]

    def one(self, kind: str, suffix: str = "") -> Manifest:
        """The only object of this kind whose name ends so."""
        (found,) = [each for each in self.all if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
        return found

    def names(self) -> set[tuple[str, str]]:
        """Kind and name of each."""
        return {(each["kind"], each["metadata"]["name"]) for each in self.all}

    def pod(self) -> Manifest:
        """The template of the operator's pod."""
        template: Manifest = self.one("Deployment")["spec"]["template"]
        return template

    def container(self) -> Manifest:
        """The operator's container."""
        (found,) = self.pod()["spec"]["containers"]
        return dict(found)

    def config(self) -> str:
        """What the operator reads from its configuration file."""
        return str(self.one("ConfigMap")["data"]["config.json"])


@dataclass(frozen=True)
class Helm:
    """The helm command, without its user's own configuration."""

    binary: str
    home: Path

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        homes = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [self.binary, *arguments], input=given, env=os.environ | homes, capture_output=True, text=True, timeout=120, check=False
        )

    def template(self, chart: Path, values: Manifest | None = None, *options: str, release: str = RELEASE) -> str:
        """The rendered manifests."""
        ended = self._template(chart, values or {}, options, release)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def render(self, values: Manifest | None = None, *options: str, release: str = RELEASE) -> Objects:
        """What the operator's chart renders to."""
        return Objects(self.template(OPERATOR, values, *options, release=release))

    def refusal(self, values: Manifest, *options: str, release: str = RELEASE) -> str:
        """What helm says when it refuses `values` for the operator's chart."""
        ended = self._template(OPERATOR, values, options, release)
        assert ended.returncode != 0, ended.stdout
        return ended.stderr

    def _template(self, chart: Path, values: Manifest, options: tuple[str, ...], release: str) -> subprocess.CompletedProcess[str]:
        chosen = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", "-", *options)
        return self.run("template", release, str(chart), *chosen, given=json.dumps(values))
