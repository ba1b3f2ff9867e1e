"""The admission policies, as the cluster's own controller reads them."""

from __future__ import annotations

from typing import Any

from e2e.cluster.kube import Kube
from e2e.cluster.release import RELEASE
from local_job import until


def test_the_types_in_every_expression_are_right(installed: Kube) -> None:
    """The controller checks each expression against the schemas of what it is for, and writes down what it finds."""

    def checked() -> list[dict[str, Any]]:
        found = installed.items("validatingadmissionpolicies", "-l", f"app.kubernetes.io/instance={RELEASE}")
        judged = [each for each in found if each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"]]
        return judged if len(judged) == len(found) else []

    policies = until("all policies are checked", checked)

    assert len(policies) == 4
    warnings = {each["metadata"]["name"]: each["status"].get("typeChecking", {}).get("expressionWarnings") for each in policies}
    assert {name: found for name, found in warnings.items() if found} == {}
