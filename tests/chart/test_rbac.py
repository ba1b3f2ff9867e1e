"""The roles that the chart makes, and who gets them."""

from typing import Any

from chart.charts import NAMESPACE, Helm, Objects
from chart.permissions import EDIT, OPERATOR, VIEW, own_namespace, table


def test_the_operator_may_do_this_in_every_namespace_and_no_more(rendered: Objects):
    assert table(rendered.one("ClusterRole", "-operator")["rules"]) == OPERATOR


def test_in_its_own_namespace_the_operator_may_read_its_own_key_and_no_other_secret(rendered: Objects):
    assert table(rendered.one("Role")["rules"]) == own_namespace("trainingjob-operator")


def test_whoever_may_view_a_namespace_may_view_its_jobs(rendered: Objects):
    role = rendered.one("ClusterRole", "-view")

    assert table(role["rules"]) == VIEW
    assert aggregated(role) == {"view", "edit", "admin"}


def test_whoever_may_edit_a_namespace_may_edit_its_jobs_but_not_their_status(rendered: Objects):
    role = rendered.one("ClusterRole", "-edit")

    assert table(role["rules"]) == EDIT
    assert aggregated(role) == {"edit", "admin"}


def aggregated(role: dict[str, Any]) -> set[str]:
    """The user-facing roles that take this one in."""
    start = "rbac.authorization.k8s.io/aggregate-to-"
    return {label.removeprefix(start) for label, value in role["metadata"]["labels"].items() if label.startswith(start) and value == "true"}


def test_both_bindings_bind_the_operators_service_account_alone(rendered: Objects):
    account = {"kind": "ServiceAccount", "name": "trainingjob-operator", "namespace": NAMESPACE}
    for kind, role in (("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")):
        binding = rendered.one(kind)
        assert binding["subjects"] == [account]
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "trainingjob-operator"}


def test_only_the_operators_pod_gets_a_token(rendered: Objects):
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendered.pod()["spec"]["automountServiceAccountToken"] is True
    assert rendered.pod()["spec"]["serviceAccountName"] == "trainingjob-operator"


def test_an_account_of_ones_own_is_bound_in_place_of_the_charts(helm: Helm):
    objects = helm.render({"serviceAccount": {"create": False, "name": "ours"}})

    assert "ServiceAccount" not in {kind for kind, _ in objects.names()}
    assert objects.pod()["spec"]["serviceAccountName"] == "ours"
    assert {objects.one(kind)["subjects"][0]["name"] for kind in ("RoleBinding", "ClusterRoleBinding")} == {"ours"}


def test_the_accounts_annotations_reach_it(helm: Helm):
    objects = helm.render({"serviceAccount": {"annotations": {"example.com/role": "a"}}})

    assert objects.one("ServiceAccount")["metadata"]["annotations"] == {"example.com/role": "a"}
