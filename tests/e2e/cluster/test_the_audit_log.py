"""What all the tests before this one have asked of the API server, by its audit log. Runs last: its name sorts after the others'."""

from __future__ import annotations

from typing import Any

from chart.permissions import OPERATOR as CLUSTERWIDE
from chart.permissions import Right, own_namespace, rights, unexplained
from e2e.cluster.kube import Kube
from e2e.cluster.release import DEPLOYMENT, NAMESPACE

OPERATOR = f"system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}"


def test_job_pods_never_talk_to_the_api_server(own_cluster: Kube, installed: Kube) -> None:
    seen = own_cluster.audit()
    assert any(line["user"].get("username", "") == OPERATOR and line["verb"] == "create" for line in seen), "the log is of these tests"
    used = {line["user"].get("username", "") for line in seen}
    assert {name for name in used if name.startswith("system:serviceaccount:team-")} == set()
    anonymous = [line for line in seen if line["user"].get("username", "") == "system:anonymous" and "/healthz" not in line["requestURI"]]
    assert [line["requestURI"] for line in anonymous if not line["requestURI"].startswith(("/livez", "/readyz"))] == []


def test_the_operator_only_creates_secrets_of_other_namespaces(own_cluster: Kube, installed: Kube) -> None:
    mine = [line for line in own_cluster.audit() if line["user"].get("username", "") == OPERATOR]
    secrets = [line for line in mine if line["objectRef"].get("resource") == "secrets"]
    elsewhere = {line["verb"] for line in secrets if line["objectRef"].get("namespace") != NAMESPACE}
    assert elsewhere == {"create"}
    assert {line["verb"] for line in secrets if line["objectRef"].get("namespace") == NAMESPACE} <= {"get", "create"}


def test_the_operator_was_refused_nothing(own_cluster: Kube, installed: Kube) -> None:
    """But for what it was also granted: an API server that has just been started does not know the roles yet."""
    mine = [line for line in own_cluster.audit() if line["user"].get("username", "") == OPERATOR]
    decided: dict[str, set[tuple[str, str]]] = {"forbid": set(), "allow": set()}
    for line in mine:
        decision = line.get("annotations", {}).get("authorization.k8s.io/decision", "allow")
        decided[decision].add((line["verb"], line["objectRef"].get("resource")))
    assert decided["forbid"] - decided["allow"] == set()


def test_every_right_is_used_or_has_a_reason(own_cluster: Kube, installed: Kube) -> None:
    mine = [line for line in own_cluster.audit() if line["user"].get("username", "") == OPERATOR]
    used = {right(line["objectRef"], line["verb"]) for line in mine}
    granted = CLUSTERWIDE | own_namespace(DEPLOYMENT)
    assert used - rights(granted) == set()
    assert unexplained(granted, used) == set()


def right(target: dict[str, Any], verb: str) -> Right:
    """What a request needs."""
    resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
    return target.get("apiGroup", ""), resource, verb


def test_no_admission_policy_was_in_the_operators_way(own_cluster: Kube, installed: Kube) -> None:
    mine = [line for line in own_cluster.audit() if line["user"].get("username", "") == OPERATOR]
    said = {line["responseStatus"].get("message", "") for line in mine if line["responseStatus"]["code"] >= 400}
    assert [message for message in said if "ValidatingAdmissionPolicy" in message] == []
