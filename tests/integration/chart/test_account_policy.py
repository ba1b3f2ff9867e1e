"""Who may name a service account in a job: those who may `use` it."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from ruamel.yaml import YAML

from integration.api_server import ApiServer
from integration.chart.release import JOB, JOBS, Release, bind
from integration.rest import MERGE, Rest
from local_job import ROOT, until

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{team}"
SUSPEND = {"spec": {"suspend": True}}


def naming(account: str | None, name: str = "another") -> dict[str, Any]:
    """A job that names this account."""
    found = deepcopy(JOB) | {"metadata": {"name": name}}
    found["spec"]["workers"]["template"] = {} if account is None else {"serviceAccountName": account}
    return found


@pytest.fixture
def jobs(rest: Rest, installed: Release, api_server: ApiServer, job: str) -> str:
    """The path of a namespace's jobs, where alice and bob may edit and the policy is in force. Admins may use any account."""
    path = JOBS.format(team=job)
    for user in ("alice", "bob"):
        bind(rest, user, f"{installed.name}-trainingjob-operator-edit", job)
        until(f"{user} may make jobs", lambda user=user: api_server.rest(user)("POST", path, naming(None), dryRun="All").ok)
    until("the policy is in force", lambda: not api_server.rest("alice")("POST", path, naming("trainer"), dryRun="All").ok)
    assert rest("POST", path, naming("trainer", "theirs")).ok
    return path


@pytest.fixture
def alice(api_server: ApiServer) -> Rest:
    return api_server.rest("alice")


@pytest.fixture
def bob(api_server: ApiServer) -> Rest:
    return api_server.rest("bob")


@pytest.fixture
def may_use(rest: Rest, api_server: ApiServer, jobs: str, job: str) -> None:
    """Alice may use the account `trainer`, by the objects that docs/installing.md shows for jane."""
    text = (ROOT / "docs/installing.md").read_text()
    (block,) = re.findall(r"^```yaml\n(apiVersion: rbac.*?)^```", text, re.DOTALL | re.MULTILINE)
    for each in YAML(typ="safe").load_all(block.replace("jane", "alice")):
        answer = rest("POST", f"{RBAC.format(team=job)}/{each['kind'].lower()}s", each)
        assert answer.ok, answer.message
    until("alice may use it", lambda: api_server.rest("alice")("POST", jobs, naming("trainer"), dryRun="All").ok)


def test_who_may_not_use_an_account_cannot_name_it_and_is_told_the_field_and_what_to_do(alice: Rest, jobs: str, job: str):
    refused = alice("POST", jobs, naming("trainer"))

    assert refused.code == 403
    assert refused.message.partition("denied request: ")[2] == (
        f"spec.workers.template.serviceAccountName: alice may not use the service account trainer of {job}; "
        "leave the field out, or have an administrator grant the verb use on it"
    )


@pytest.mark.parametrize("account", [None, "default"])
def test_no_account_and_the_default_one_are_free(alice: Rest, jobs: str, account: str | None):
    assert alice("POST", jobs, naming(account)).ok


def test_who_may_use_an_account_can_name_it_and_no_other(alice: Rest, jobs: str, may_use: None):
    assert alice("POST", jobs, naming("trainer")).ok
    assert alice("POST", jobs, naming("another", "third")).code == 403


def test_a_job_with_an_account_is_changed_only_by_who_may_use_it(alice: Rest, bob: Rest, jobs: str, may_use: None):
    theirs = f"{jobs}/theirs"

    assert "bob may not use the service account trainer" in bob("PATCH", theirs, SUSPEND, MERGE).message
    assert alice("PATCH", theirs, SUSPEND, MERGE).ok
    assert bob("PATCH", theirs, {"spec": {"workers": {"template": {"serviceAccountName": None}}}}, MERGE).ok, "it is given up"


def test_an_account_cannot_be_brought_in_later(bob: Rest, jobs: str):
    mine = f"{jobs}/digits"
    assert bob("PATCH", mine, SUSPEND, MERGE).ok

    refused = bob("PATCH", mine, {"spec": {"workers": {"template": {"serviceAccountName": "trainer"}}}}, MERGE)

    assert "bob may not use the service account trainer" in refused.message


def test_labels_and_deletion_are_free(bob: Rest, jobs: str):
    theirs = f"{jobs}/theirs"

    assert bob("PATCH", theirs, {"metadata": {"labels": {"a": "b"}}}, MERGE).ok
    assert bob("DELETE", theirs).ok


def test_the_operator_writes_the_status_of_a_job_whose_account_it_may_not_use(api_server: ApiServer, installed: Release, jobs: str):
    operator = api_server.rest(installed.account)

    assert operator("PATCH", f"{jobs}/theirs/status", {"status": {"phase": "Running"}}, MERGE).ok
