"""What the README, docs/installing.md and docs/first-job.md tell their readers to type on a cluster is typed here, in that order.

Each document has a namespace and a place in the bucket of its own. The operator that docs/installing.md installs, upgrades and removes is
not that of the other tests, which runs the jobs: it is a release of its own, and leaves others' jobs alone.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e2e.cluster import release
from e2e.cluster.kube import Kube
from e2e.documents.pages import FIRST_JOB, INSTALLING, README, Command, blocks, commands, shapes
from local_job import ROOT

DOCUMENTS = (README, INSTALLING, FIRST_JOB)
NOT_RUN = {
    "docker build": "needs docker; `make images` builds from the same files",
    "docker push": "needs a registry",
    "helm uninstall trainingjob-crds": "others' jobs need the definition; tests/chart says that it is kept",
    "kubectl delete crd": "it would take all jobs of the cluster along",
    "make cluster-up images": "it is up: these tests run on it",
    "source /var/lib/trainingjob-cluster/env.sh": "the fixture has read it",
    "helm install trainingjob-crds": "run from the console block",
    "helm install trainingjob helm/trainingjob-operator": "run from the console block, with the same images",
    "make cluster-down": "the other tests need the cluster",
    "kind create cluster": "needs docker",
    "kind load": "needs docker",
    "kind get kubeconfig": "needs docker",
    "KUBECONFIG_E2E=": "needs another cluster",
}
"""The commands of text blocks, by their beginning, and why each is not run."""


def test_nothing_is_left_out_without_a_reason() -> None:
    lines = [line for document in DOCUMENTS for block in blocks(document, "text") for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    assert [line for line in lines if not any(line.startswith(beginning) for beginning in NOT_RUN)] == []
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)] == []


def test_every_document_has_commands() -> None:
    assert all(len(commands(document)) >= 4 for document in DOCUMENTS)


@dataclass(frozen=True)
class Desk:
    """Where a reader of one document sits: a folder, a namespace, and a release of their own."""

    kube: Kube
    folder: Path
    release: str

    def type(self, command: Command) -> str:
        """Run the command; what it printed."""
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", self.own(command.line)],
            cwd=self.folder,
            env=dict(self.kube.environ),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(f"$ {command.line}   # {time.monotonic() - began:.1f} s\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def own(self, line: str) -> str:
        """The line with this desk's release in the place of the document's. An install may be repeated."""
        line = line.replace("helm install ", "helm upgrade --install ")
        if "trainingjob-crds" in line:
            return line
        line = line.replace("trainingjob-system", self.release).replace(
            "trainingjob-trainingjob-operator", f"{self.release}-trainingjob-operator"
        )
        return re.sub(r"^(helm (?:upgrade --install|\w+)) trainingjob ", rf"\1 {self.release} ", line)


@pytest.fixture(scope="module")
def desks(installed: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Desk]]:
    name = f"docs-{secrets.token_hex(3)}"
    installed.run("kubectl", "create", "namespace", name)
    made = {document.name: _desk(installed, tmp_path_factory.mktemp("desk"), name, index) for index, document in enumerate(DOCUMENTS)}
    yield made
    installed.attempt("helm", "uninstall", name, "-n", name)
    for desk in range(len(made)):
        installed.run("kubectl", "delete", "namespace", f"{name}-{desk}", "--wait=false")
    installed.run("kubectl", "delete", "namespace", name, "--wait=false")


def _desk(kube: Kube, folder: Path, name: str, index: int) -> Desk:
    namespace = f"{name}-{index}"
    kube.run("kubectl", "create", "namespace", namespace)
    (folder / "kubeconfig").write_text(kube.run("kubectl", "config", "view", "--raw", "--flatten"))
    own = replace(kube, environ={**kube.environ, "KUBECONFIG": str(folder / "kubeconfig")})
    own.run("kubectl", "config", "set-context", "--current", f"--namespace={namespace}")
    (folder / "helm").symlink_to(ROOT / "helm")
    (folder / "examples").mkdir()
    example, bucket = (ROOT / "examples/digits-gpu.yaml").read_text(), kube.storage.bucket
    assert f"s3://{bucket}/jobs/" in example
    (folder / "examples/digits-gpu.yaml").write_text(
        example.replace(f"s3://{bucket}/jobs/", f"s3://{bucket}/{namespace}/jobs/").replace("http://s3.s3.svc:7070", kube.storage.endpoint)
    )
    (operator, tag), (trainer, trainer_tag) = release.reference("operator"), release.reference("trainer")
    (folder / "values.yaml").write_text(
        f"image: {{repository: {operator}, tag: {tag!r}}}\ntrainerImage: {{repository: {trainer}, tag: {trainer_tag!r}}}\n"
        f"config: {{operatorName: {name}.example.com/operator}}\n"
    )
    return Desk(own, folder, name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_do_what_the_document_says(document: Path, desks: dict[str, Desk]) -> None:
    desk = desks[document.name]
    for command in commands(document):
        shown = desk.type(command)
        said = [line for line in command.printed if line != "…"]
        seen = re.sub(rf"{desk.release}-\d/", "", shown).replace(desk.release, "trainingjob")
        missing = shapes(said) - shapes(seen.splitlines())
        assert not missing, f"{command}\nThe document shows {sorted(missing)}; it printed\n{shown}"
