from dataclasses import replace

import pytest

from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.environment import Place, UnresolvedError, arguments, environment
from unit.local.manifests import make_pod


def make_place(port: int | None = 20001, **caller: str) -> Place:
    secrets: dict[str, Manifest] = {"s": {"data": {"k": "dmFsdWU="}, "stringData": {"plain": "text"}}}
    return Place("uid", "/opt/python/bin/python", "/manifests", "/t", "/scratch", port, {"PATH": "/bin", **caller}, secrets)


def resolved(*variables: Manifest, **caller: str) -> dict[str, str]:
    return environment(make_pod("a", "", env=list(variables)), make_place(**caller))


def test_the_manifest_comes_over_the_callers_environment_and_this_machine_over_both() -> None:
    found = resolved(
        {"name": "OWN", "value": "manifest"}, {"name": "TRAININGJOB_SCRATCH", "value": "/tmp"}, OWN="caller", AWS_ACCESS_KEY_ID="id"
    )
    assert (found["OWN"], found["TRAININGJOB_SCRATCH"], found["AWS_ACCESS_KEY_ID"]) == ("manifest", "/scratch", "id")


def test_a_variable_of_ours_in_the_callers_environment_is_not_handed_on() -> None:
    assert "TRAININGJOB_STATE_DIR" not in resolved(TRAININGJOB_STATE_DIR="/state")


def test_python_in_a_command_is_this_one_and_is_found_by_commands_of_commands() -> None:
    assert arguments(make_pod("a", "x"), "/opt/python/bin/python") == ["/opt/python/bin/python", "-c", "x"]
    assert resolved()["PATH"].split(":")[0] == "/opt/python/bin"


def test_modules_beside_the_manifest_are_found_after_the_callers_own() -> None:
    worker = {"name": "TRAININGJOB_WORKER", "value": "0"}
    assert resolved(worker, PYTHONPATH="/mine")["PYTHONPATH"] == "/mine:/manifests"
    assert "PYTHONPATH" not in resolved()


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"secretKeyRef": {"name": "s", "key": "k"}}, "value"),
        ({"secretKeyRef": {"name": "s", "key": "plain"}}, "text"),
        ({"secretKeyRef": {"name": "other", "key": "k"}}, "from the caller"),
        ({"configMapKeyRef": {"name": "other", "key": "k"}}, "from the caller"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "127.0.0.1"),
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "a"),
        ({"fieldRef": {"fieldPath": "metadata.labels['batch.trainingjob.dev/role']"}}, "worker"),
    ],
    ids=["data", "stringData", "a user's Secret", "a ConfigMap", "address", "name", "label"],
)
def test_references_are_resolved(source: Manifest, value: str) -> None:
    assert resolved({"name": "V", "valueFrom": source}, V="from the caller")["V"] == value


def test_an_optional_reference_is_left_out() -> None:
    assert "V" not in resolved({"name": "V", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k", "optional": True}}})


@pytest.mark.parametrize(
    "source", [{"secretKeyRef": {"name": "other", "key": "k"}}, {"fieldRef": {"fieldPath": "spec.what"}}, {"resourceFieldRef": {}}], ids=str
)
def test_what_cannot_be_resolved_is_named(source: Manifest) -> None:
    with pytest.raises(UnresolvedError, match="variable V"):
        resolved({"name": "V", "valueFrom": source})


SECRET: Manifest = {"kind": "Secret", "metadata": {"name": "keys"}, "data": {"A": "aWQ="}, "stringData": {"B": "$(A)", "E": ""}}
SETTINGS: Manifest = {"kind": "ConfigMap", "metadata": {"name": "keys"}, "data": {"A": "from the map"}}


def test_secrets_that_came_with_the_job_are_the_clusters() -> None:
    env = [
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "A"}}},
        {"name": "TWO", "valueFrom": {"configMapKeyRef": {"name": "keys", "key": "A"}}},
        {"name": "EMPTY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "E"}}},
        {"name": "BOTH", "value": "$(A)/$(MAP_A)/$(B)"},
        {"name": "B", "value": "own"},
    ]
    sources = [
        {"secretRef": {"name": "keys"}},
        {"configMapRef": {"name": "keys"}, "prefix": "MAP_"},
        {"secretRef": {"name": "in-the-cluster"}},
    ]
    pod = make_pod("a", "", env=env)
    pod["spec"]["containers"][0]["envFrom"] = sources
    place = replace(make_place(A="caller", EMPTY="caller", ONLY="caller"), given=(SECRET, SETTINGS))
    found = environment(pod, place)
    assert {name: found[name] for name in ("ONE", "TWO", "EMPTY", "BOTH", "A", "B", "MAP_A", "ONLY")} == {
        "ONE": "id",
        "TWO": "from the map",
        "EMPTY": "",
        "BOTH": "id/from the map/$(A)",
        "A": "id",
        "B": "own",
        "MAP_A": "from the map",
        "ONLY": "caller",
    }


def test_a_value_refers_to_what_stands_before_it() -> None:
    found = resolved(
        {"name": "EARLY", "value": "$(DATA_ROOT)"},
        {"name": "DATA_ROOT", "value": "/data"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "FULL_PATH", "value": "$(DATA_ROOT)/imagenet?key=$(KEY)&home=$(HOME)&price=$$(DATA_ROOT)"},
        {"name": "DATA_ROOT", "value": "$(DATA_ROOT)/again"},
        HOME="/home/me",
    )
    assert found["EARLY"] == "$(DATA_ROOT)", "defined later"
    assert found["FULL_PATH"] == "/data/imagenet?key=value&home=$(HOME)&price=$(DATA_ROOT)", "the caller's own are not the container's"
    assert found["DATA_ROOT"] == "/data/again"


def test_the_command_has_the_containers_variables() -> None:
    assert arguments(make_pod("a", "$(A) $(B) $$(A)"), "/python", {"A": "1"}) == ["/python", "-c", "1 $(B) $(A)"]


def test_who_listens_and_who_connects_meet_at_the_services_port() -> None:
    listener = resolved({"name": "TRAININGJOB_PORT", "value": "29400"})
    assert (listener["TRAININGJOB_BIND"], listener["TRAININGJOB_PORT"]) == ("127.0.0.1", "20001")
    worker = resolved({"name": "TRAININGJOB_WORKER", "value": "0"}, {"name": "TRAININGJOB_RENDEZVOUS", "value": "svc:29400"})
    assert worker["TRAININGJOB_RENDEZVOUS"] == "127.0.0.1:20001"


def test_bytes_of_a_secret_fail_only_where_a_variable_refers_to_them() -> None:
    held: Manifest = {"kind": "Secret", "metadata": {"name": "keys"}, "data": {"A": "aWQ=\n", "B": "/w=="}}
    place = replace(make_place(), given=[held])
    every, one = {"envFrom": [{"secretRef": {"name": "keys"}}]}, {"name": "V", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "B"}}}
    pod = make_pod("a", "")
    pod["spec"]["containers"][0].update(every)
    found = environment(pod, place)
    assert found["A"] == "id"
    assert "B" not in found
    with pytest.raises(UnresolvedError, match="variable V: Secret keys: B holds bytes that are no UTF-8 text"):
        environment(make_pod("a", "", env=[one]), place)
