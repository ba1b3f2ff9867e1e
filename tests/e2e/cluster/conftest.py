"""A cluster with the product in it, and a namespace for each test.

The cluster is this machine's own (`make cluster-up`), or the one that KUBECONFIG_E2E names. Where there is neither, these tests are left
out, with the reason; in CI that is a failure.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import preflight
from cluster.layout import STATE
from e2e.cluster import release
from e2e.cluster.job import ClusterJob
from e2e.cluster.kube import Kube, environment, kube_of
from local_job import load

Make = Callable[..., ClusterJob]


@pytest.fixture(scope="session")
def cluster() -> Kube:
    """The cluster."""
    if other := os.environ.get("KUBECONFIG_E2E"):
        return kube_of({**os.environ, "KUBECONFIG": other})
    script = STATE / "env.sh"
    if not script.exists():
        reason = preflight.reason() or "it is not up: `make cluster-up images`"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"the tests on a real cluster are left out: {reason}")
    return kube_of(environment(script))


@pytest.fixture(scope="session")
def own_cluster(cluster: Kube) -> Kube:
    """The cluster, whose nodes and audit log are ours."""
    if cluster.audit_log is None:
        pytest.skip("another cluster's nodes and audit log are not ours to use")
    return cluster


@pytest.fixture(scope="session")
def installed(cluster: Kube) -> Kube:
    """The cluster with both charts installed."""
    release.install(cluster)
    return cluster


@pytest.fixture(scope="session")
def team(installed: Kube) -> Iterator[str]:
    """A namespace of these tests."""
    name = make_team(installed)
    yield name
    installed.run("kubectl", "delete", "namespace", name, "--wait=false")


def make_team(kube: Kube) -> str:
    """A namespace that takes only restricted pods, with the keys to the bucket; its name."""
    name = f"team-{secrets.token_hex(3)}"
    kube.run("kubectl", "create", "namespace", name)
    kube.run("kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    storage = kube.storage
    keys = {"AWS_ACCESS_KEY_ID": storage.access_key, "AWS_SECRET_ACCESS_KEY": storage.secret_key}
    literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
    kube.run("kubectl", "-n", name, "create", "secret", "generic", "s3-credentials", *literals)
    return name


@pytest.fixture(scope="session")
def session_make(installed: Kube, team: str) -> Make:
    """Make a job from an example, with its own name and place in the bucket: make("fails-over", training__epochs=160)."""

    def made(name: str, example: str = "digits-gpu.yaml", **changes: Any) -> ClusterJob:
        manifest = load(example)
        manifest["metadata"]["name"] = name
        storage = {
            "uri": f"s3://{installed.storage.bucket}/{team}/{name}",
            "endpointUrl": installed.storage.endpoint,
            "region": "us-east-1",
            "credentialsSecretName": "s3-credentials",
        }
        manifest["spec"]["checkpoint"]["storage"] = storage
        for path, value in changes.items():
            *way, last = path.split("__")
            place = manifest["spec"]
            for word in way:
                place = place.setdefault(word, {})
            place[last] = value
        return ClusterJob(installed, team, manifest)

    return made


@pytest.fixture
def make(session_make: Make) -> Iterator[Make]:
    """As session_make; the jobs go with the test."""
    made: list[ClusterJob] = []

    def one(*words: Any, **changes: Any) -> ClusterJob:
        made.append(session_make(*words, **changes))
        return made[-1]

    yield one
    for job in made:
        job.delete()


LONG = {"training__epochs": 160, "checkpoint__everySteps": 100, "checkpoint__keep": 10, "recovery": {"maxFailures": 20}}
"""Long enough to be interrupted: 2,400 steps."""


@pytest.fixture
def long() -> dict[str, Any]:
    """The changes that make the digits long enough to be interrupted."""
    return dict(LONG)


@pytest.fixture
def slow() -> dict[str, Any]:
    """The long digits with little CPU time: for a minute even where nothing else runs, and with the same bits."""
    return LONG | {"workers__template": {"resources": {"limits": {"cpu": "300m"}}}}


@pytest.fixture(scope="session")
def undisturbed(session_make: Make) -> str:
    """The weights of the long digits, trained without a fault. The job's bits do not depend on how many workers are alive."""
    job = session_make("undisturbed", **LONG)
    job.apply()
    job.succeeds()
    found = job.weights()
    job.delete()
    return found
