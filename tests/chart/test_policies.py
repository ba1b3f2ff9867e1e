"""The admission policies: where they are there, and what in them is the administrator's to say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chart.charts import NAMESPACE, Helm, Objects

OPERATOR = {"trainingjob-operator-children", "trainingjob-operator-secrets", "trainingjob-operator-pods"}
ACCOUNTS = {"trainingjob-operator-accounts"}
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"


def policies(objects: Objects) -> dict[str, dict[str, Any]]:
    """The policies by name."""
    return {each["metadata"]["name"]: each for each in objects.all if each["kind"] == POLICY}


@pytest.mark.parametrize(
    ("version", "values", "expected"),
    [
        ("1.29.6", {}, set()),
        ("v1.30.0-gke.1", {}, OPERATOR | ACCOUNTS),
        ("1.35.4", {}, OPERATOR | ACCOUNTS),
        ("1.35.4", {"operator": False}, ACCOUNTS),
        ("1.35.4", {"serviceAccounts": False}, OPERATOR),
        ("1.29.6", {"operator": True}, OPERATOR),
        ("1.29.6", {"serviceAccounts": True}, ACCOUNTS),
    ],
)
def test_they_are_there_where_kubernetes_has_them_and_wherever_they_are_asked_for(
    helm: Helm, version: str, values: dict[str, Any], expected: set[str]
):
    objects = helm.render({"admissionPolicies": values}, "--kube-version", version)

    assert policies(objects).keys() == expected
    assert {each["metadata"]["name"] for each in objects.all if each["kind"] == BINDING} == expected


def test_every_policy_is_bound_to_the_whole_cluster_and_denies(rendered: Objects):
    for each in rendered.all:
        if each["kind"] == BINDING:
            assert each["spec"] == {"policyName": each["metadata"]["name"], "validationActions": ["Deny"]}
    assert {each["spec"]["failurePolicy"] for each in policies(rendered).values()} == {"Fail"}


@pytest.mark.parametrize(
    ("values", "account"),
    [({}, "trainingjob-operator"), ({"serviceAccount": {"create": False, "name": "ours"}}, "ours")],
    ids=["the chart's", "one's own"],
)
def test_the_operators_policies_bind_the_operators_account_and_nobody_else(helm: Helm, values: dict[str, Any], account: str):
    found = policies(helm.render(values))

    condition = {"name": "by-the-operator", "expression": f"request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{account}'"}
    assert all(condition in found[name]["spec"]["matchConditions"] for name in OPERATOR)
    assert condition not in found[ACCOUNTS.copy().pop()]["spec"]["matchConditions"]


def test_every_rule_says_which_field_it_is_about(rendered: Objects):
    validations = [rule for each in policies(rendered).values() for rule in each["spec"]["validations"]]

    assert len(validations) >= 14
    for rule in validations:
        said = rule.get("message") or rule["messageExpression"].strip("'")
        assert said.startswith(("spec.", "metadata.", "type: ", "immutable: ")), said
        assert rule["reason"] == "Forbidden"


@pytest.mark.parametrize(
    ("value", "policy", "chosen"),
    [
        ("forbiddenNamespaces", "trainingjob-operator-children", []),
        ("forbiddenNamespaces", "trainingjob-operator-children", ["kube-system", "billing"]),
        ("tokenAudiences", "trainingjob-operator-pods", []),
        ("tokenAudiences", "trainingjob-operator-pods", ["https://sts.example.com/a?b=c&d"]),
    ],
)
def test_the_lists_are_the_administrators_to_choose(helm: Helm, value: str, policy: str, chosen: list[str]):
    found = policies(helm.render({"admissionPolicies": {value: chosen}}))[policy]

    assert json.dumps(chosen, separators=(",", ":")) in " ".join(rule["expression"] for rule in found["spec"]["validations"])


@pytest.mark.parametrize("value", ["forbiddenNamespaces", "tokenAudiences"])
def test_no_list_smuggles_an_expression_in(helm: Helm, value: str):
    assert f"at '/admissionPolicies/{value}/0'" in helm.refusal({"admissionPolicies": {value: ['x"] || true || ["']}})
