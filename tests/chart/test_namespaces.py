"""An operator that is held to some namespaces: its rights, and what is left of the cluster's own objects."""

from __future__ import annotations

from typing import Any

import pytest

from chart.charts import NAMESPACE, Helm, Objects
from chart.permissions import NODES, OPERATOR, own_namespace, table

TEAMS = ["team-a", NAMESPACE]


@pytest.fixture(scope="module")
def held(helm: Helm) -> Objects:
    """Held to a team's namespace and to its own."""
    return helm.render({"watchNamespaces": TEAMS})


def roles(objects: Objects, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Roles or their bindings by namespace and name."""
    return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in objects.all if each["kind"] == kind}


def test_in_each_of_them_it_may_do_what_it_otherwise_may_everywhere(held: Objects):
    found = roles(held, "Role")

    assert {key: table(role["rules"]) for key, role in found.items()} == {
        (NAMESPACE, "trainingjob-operator"): own_namespace("trainingjob-operator"),
        **{(team, "trainingjob-operator-jobs"): OPERATOR - NODES for team in TEAMS},
    }


def test_each_role_is_bound_to_the_operators_account(held: Objects):
    for (namespace, name), binding in roles(held, "RoleBinding").items():
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        assert (namespace, name) in roles(held, "Role")
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "trainingjob-operator", "namespace": NAMESPACE}]


def test_of_the_cluster_it_sees_the_nodes_alone(held: Objects):
    assert table(held.one("ClusterRole", "-operator")["rules"]) == NODES


def test_without_nodes_it_has_no_right_in_the_cluster(helm: Helm):
    names = helm.render({"watchNamespaces": TEAMS, "watchNodes": False}).names()

    assert ("ClusterRole", "trainingjob-operator") not in names
    assert "ClusterRoleBinding" not in {kind for kind, _ in names}


def test_nodes_can_be_left_out_of_the_whole_clusters_rights_too(helm: Helm):
    assert table(helm.render({"watchNodes": False}).one("ClusterRole", "-operator")["rules"]) == OPERATOR - NODES


def test_the_policy_for_accounts_is_for_those_namespaces_alone(held: Objects):
    (expression,) = held.one("ValidatingAdmissionPolicyBinding", "-accounts")["spec"]["matchResources"]["namespaceSelector"][
        "matchExpressions"
    ]

    assert expression == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": TEAMS}


def test_who_owns_no_more_than_namespaces_can_install_it(helm: Helm):
    policies = {"operator": False, "serviceAccounts": False}
    objects = helm.render(
        {"watchNamespaces": TEAMS, "watchNodes": False, "userRoles": {"create": False}, "admissionPolicies": policies},
    )

    assert [each["kind"] for each in objects.all if "namespace" not in each["metadata"]] == []


@pytest.mark.parametrize("names", [["team-*"], ["Team"], ["a", "a"], [""]], ids=["pattern", "capital", "twice", "empty"])
def test_only_names_are_taken(helm: Helm, names: list[str]):
    assert "at '/watchNamespaces" in helm.refusal({"watchNamespaces": names})
