"""What the chart's roles allow, asked of a real API server by those who have them."""

from __future__ import annotations

from typing import Any

import pytest

from chart.permissions import OPERATOR, Table, own_namespace, table
from integration.api_server import ApiServer
from integration.chart.release import JOB, JOBS, Release, bind
from integration.rest import APPLY, JSON, MERGE, Rest
from local_job import until
from trainingjob_api.resource import API_VERSION, KIND
from trainingjob_operator.engine.cluster.key import NAME as KEY

RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
SERVICES, PODS, SECRETS = (f"/api/v1/namespaces/{{team}}/{plural}" for plural in ("services", "pods", "secrets"))
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{team}/networkpolicies"
REVISIONS = "/apis/apps/v1/namespaces/{team}/controllerrevisions"
OWNER = {"apiVersion": API_VERSION, "kind": KIND, "name": "digits", "uid": "0", "controller": True}
NAMED = {"metadata": {"name": "x", "ownerReferences": [OWNER]}}
SECRET = {"metadata": NAMED["metadata"] | {"name": "digits-0a1b2"}, "immutable": True}
CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD = NAMED | {
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "b", "securityContext": CONTAINER}],
    }
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}} | NAMED
POLICY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}} | NAMED


@pytest.fixture
def operator(api_server: ApiServer, installed: Release) -> Rest:
    """The protocol, as the operator."""
    return api_server.rest(installed.account)


def allowed(rest: Rest, namespace: str) -> Table:
    """All that a user may do in a namespace."""
    return table(rest("POST", RULES, {"spec": {"namespace": namespace}}).body["status"]["resourceRules"])


def test_the_operator_may_do_what_the_table_says_and_no_more(api_server: ApiServer, operator: Rest, installed: Release, namespace: str):
    everybody = allowed(api_server.rest(f"system:serviceaccount:{namespace}:default"), namespace)

    assert allowed(operator, namespace) - everybody == OPERATOR
    assert allowed(operator, installed.namespace) - everybody == OPERATOR | own_namespace(f"{installed.name}-trainingjob-operator")


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", f"/apis/{API_VERSION}/trainingjobs", None, JSON),
        ("GET", f"{JOBS}/digits", None, JSON),
        ("PATCH", f"{JOBS}/digits/status", {"status": {"phase": "Running"}}, MERGE),
        ("DELETE", f"{JOBS}/digits", None, JSON),
        ("GET", "/api/v1/pods", None, JSON),
        ("POST", PODS, POD, JSON),
        ("POST", SECRETS, SECRET, JSON),
        ("PATCH", f"{SERVICES}/x?fieldManager=a", SERVICE, APPLY),
        ("PATCH", f"{POLICIES}/x?fieldManager=a", POLICY, APPLY),
        ("POST", REVISIONS, NAMED | {"revision": 1, "data": {}}, JSON),
        ("GET", "/api/v1/nodes", None, JSON),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_operator_may(operator: Rest, job: str, method: str, path: str, body: Any, kind: str):
    asked = path.format(team=job)
    dry = "" if method == "GET" else ("&" if "?" in asked else "?") + "dryRun=All"

    answer = operator(method, asked + dry, body, kind)

    assert answer.ok, answer.message


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", SECRETS, None, JSON),
        ("GET", "/api/v1/secrets", None, JSON),
        ("GET", f"{SECRETS}/x", None, JSON),
        ("GET", f"{SECRETS}/{KEY}", None, JSON),
        ("PATCH", f"{SECRETS}/x?fieldManager=a", {"apiVersion": "v1", "kind": "Secret"} | NAMED, APPLY),
        ("DELETE", f"{SECRETS}/x", None, JSON),
        ("POST", JOBS, JOB, JSON),
        ("PATCH", f"{JOBS}/digits", {"spec": {"suspend": True}}, MERGE),
        ("PATCH", f"{PODS}/x", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        ("POST", f"{PODS}/x/exec?command=ls", None, JSON),
        ("GET", f"{PODS}/x/log", None, JSON),
        ("POST", f"{PODS}/x/eviction", {"apiVersion": "policy/v1", "kind": "Eviction"} | NAMED, JSON),
        ("POST", "/api/v1/namespaces/{team}/serviceaccounts/default/token", {"spec": {}}, JSON),
        ("GET", "/api/v1/namespaces/{team}/configmaps", None, JSON),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", NAMED, JSON),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_operator_may_not(operator: Rest, job: str, method: str, path: str, body: Any, kind: str):
    assert operator(method, path.format(team=job), body, kind).code == 403


def test_the_operator_makes_its_key_and_reads_no_other_secret_of_its_own_namespace(operator: Rest, rest: Rest, installed: Release):
    secrets = f"/api/v1/namespaces/{installed.namespace}/secrets"
    assert operator("GET", f"{secrets}/{KEY}").code == 404
    assert operator("POST", secrets, {"metadata": {"name": KEY}, "immutable": True, "stringData": {"key": "x"}}).ok
    assert rest("POST", secrets, {"metadata": {"name": "other"}}).ok

    assert operator("GET", f"{secrets}/{KEY}").body["data"] == {"key": "eA=="}
    assert operator("GET", f"{secrets}/other").code == 403
    assert operator("GET", secrets).code == 403
    assert operator("DELETE", f"{secrets}/{KEY}").code == 403
    assert operator("PATCH", f"{secrets}/{KEY}", {"stringData": {"key": "y"}}, MERGE).code == 403


def test_a_viewer_reads_jobs_and_changes_none(api_server: ApiServer, rest: Rest, installed: Release, job: str):
    jobs, viewer = JOBS.format(team=job), api_server.rest("alice")
    bind(rest, "alice", f"{installed.name}-trainingjob-operator-view", job)
    until("alice may see jobs", lambda: viewer("GET", jobs).ok)

    assert viewer("GET", f"{jobs}/digits").ok
    assert viewer("GET", f"{jobs}/digits/status").ok
    assert viewer("DELETE", f"{jobs}/digits").code == 403
    assert viewer("PATCH", f"{jobs}/digits", {"spec": {"suspend": True}}, MERGE).code == 403


def test_an_editor_changes_jobs_and_forges_no_status(api_server: ApiServer, rest: Rest, installed: Release, job: str):
    jobs, editor = JOBS.format(team=job), api_server.rest("bob")
    bind(rest, "bob", f"{installed.name}-trainingjob-operator-edit", job)
    until("bob may change jobs", lambda: editor("PATCH", f"{jobs}/digits", {"spec": {"suspend": True}}, MERGE).ok)

    assert editor("POST", jobs, JOB | {"metadata": {"name": "another"}}).ok
    assert editor("PATCH", f"{jobs}/digits/status", {"status": {"phase": "Complete"}}, MERGE).code == 403
    assert editor("DELETE", f"{jobs}/digits").ok


def test_kubernetes_own_roles_take_the_charts_in(rest: Rest, installed: Release):
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    for suffix, takers in (("view", {"view", "edit", "admin"}), ("edit", {"edit", "admin"})):
        labels = rest("GET", f"{roles}/{installed.name}-trainingjob-operator-{suffix}").body["metadata"]["labels"]
        for taker in takers:
            selectors = rest("GET", f"{roles}/{taker}").body["aggregationRule"]["clusterRoleSelectors"]
            assert any(selector["matchLabels"].items() <= labels.items() for selector in selectors)
