"""Nodes, patches, paths, the root key's text, the process's configuration, and the names of metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_operator.controllers.training_job.cluster import nodes
from trainingjob_operator.controllers.training_job.cluster.nodes import KnownNode
from trainingjob_operator.controllers.training_job.state import TRAINING_JOBS
from trainingjob_operator.engine.cluster.patch import merge_patch
from trainingjob_operator.engine.daemon import config
from trainingjob_operator.engine.daemon.metrics import Metrics
from trainingjob_operator.engine.resources import EVENTS, NODES, PODS, owner
from trainingjob_operator.engine.settings import Misconfigured
from trainingjob_operator.registry import Settings

JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


def ready(status: str | None, *taints: str) -> dict[str, Any]:
    conditions = [{"type": "MemoryPressure", "status": "True"}] + ([{"type": "Ready", "status": status}] if status else [])
    spec = {"taints": [{"key": key, "effect": "NoExecute"} for key in taints]} if taints else {}
    return {"metadata": {"name": "node-1"}, "spec": spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("manifest", "trouble"),
    [
        (ready("True"), ""),
        (ready("False"), "is not ready"),
        (ready("Unknown"), "is not ready"),
        (ready(None), ""),
        ({"metadata": {"name": "node-1"}}, ""),
        (ready("True", "node.kubernetes.io/unschedulable"), ""),
        (ready("True", "node.kubernetes.io/memory-pressure"), ""),
        (ready("True", "node.kubernetes.io/out-of-service"), "is out of service"),
        (ready("Unknown", "node.kubernetes.io/unreachable", "node.kubernetes.io/out-of-service"), "is out of service"),
    ],
)
def test_nodes(manifest: dict[str, Any], trouble: str) -> None:
    assert nodes.read(manifest) == KnownNode("node-1", trouble)


def applied(patch: Any, target: Any) -> Any:
    """RFC 7386, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = applied(value, found.get(name))
    return found


@given(old=OBJECTS, new=OBJECTS)
def test_a_patch_makes_the_new_of_the_old_and_is_empty_for_the_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert applied(merge_patch(old, new), old) == new
    assert merge_patch(new, new) == {}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("team"), "/api/v1/namespaces/team/pods"),
        (PODS.path("team", "a"), "/api/v1/namespaces/team/pods/a"),
        (NODES.path(), "/api/v1/nodes"),
        (TRAINING_JOBS.path("t", "a", "status"), "/apis/batch.trainingjob.dev/v1alpha1/namespaces/t/trainingjobs/a/status"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_an_owner_of_another_group_is_none() -> None:
    reference = {"kind": "TrainingJob", "apiVersion": "batch.trainingjob.dev.evil/v1", "name": "a", "uid": "b", "controller": True}
    assert owner({"ownerReferences": [reference]}, TRAINING_JOBS) is None


def test_an_owner_of_the_core_group_is_found() -> None:
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": "b", "controller": True}
    assert owner({"ownerReferences": [reference]}, PODS) == ("a", "b")


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (PODS.path(), "pods"),
        (PODS.path("team", "a"), "pods"),
        (EVENTS.path("team"), "events"),
        (TRAINING_JOBS.path(), "trainingjobs"),
        (TRAINING_JOBS.path("team", "a", "status"), "trainingjobs/status"),
    ],
)
def test_requests_are_counted_by_resource_and_never_by_name(path: str, resource: str) -> None:
    metrics = Metrics()
    metrics.answered("GET", path, 200)
    line = f'trainingjob_operator_api_requests_total{{code="200",method="GET",resource="{resource}"}} 1.0'
    assert line in metrics.text().decode().splitlines()


def test_the_configuration_has_defaults() -> None:
    found = config.read({}, Settings)
    assert (found.namespace, found.port, found.log_level) == ("default", 8080, "INFO")


def test_the_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"progressSeconds": 2, "defaultImage": "a:1"}')
    environ = {"TRAININGJOB_OPERATOR_CONFIG": str(file), "POD_NAMESPACE": "own", "TRAININGJOB_OPERATOR_PORT": "0"}
    found = config.read(environ | {"TRAININGJOB_OPERATOR_LOG_LEVEL": "debug", "TRAININGJOB_OPERATOR_ADDRESS": "::1"}, Settings)
    assert (found.settings.progress_seconds, found.settings.default_image) == (2.0, "a:1")
    assert (found.namespace, found.port, found.address, found.log_level) == ("own", 0, "::1", "DEBUG")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"progresSeconds": 2}', "progresSeconds: Extra inputs"),
        (b'{"progressSeconds": "soon"}', "progressSeconds: Input should be a valid number"),
        (b"progressSeconds: 2", "Invalid JSON"),
        (b"\xff\xfe", "is no text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_wrong_file_names_the_field(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured) as wrong:
        config.read({"TRAININGJOB_OPERATOR_CONFIG": str(file)}, Settings)
    assert str(file) in str(wrong.value)
    assert words in str(wrong.value)


@pytest.mark.parametrize(("variable", "value"), [("PORT", "http"), ("PORT", "70000"), ("PORT", "-1"), ("LOG_LEVEL", "loud")])
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=f"TRAININGJOB_OPERATOR_{variable} is '{value}'; give"):
        config.read({f"TRAININGJOB_OPERATOR_{variable}": value}, Settings)
