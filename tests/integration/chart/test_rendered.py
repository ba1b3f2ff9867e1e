"""What the charts render is taken by a real API server, without a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chart.charts import CRDS, OPERATOR, Helm, Objects
from integration.chart.release import Release
from integration.rest import Rest

EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "image": {"digest": "sha256:" + "0" * 64},
    "serviceAccount": {"annotations": {"example.com/role": "a"}},
    "service": {"annotations": {"prometheus.io/scrape": "true"}},
    "podAnnotations": {"a": "1"},
    "podLabels": {"team": "ml"},
    "extraEnv": [{"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}],
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]
            }
        }
    },
    "priorityClassName": "system-cluster-critical",
    "commonLabels": {"cost-centre": "17"},
    "replicas": 3,
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
}


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_api_server_takes_the_operators_chart(helm: Helm, kubectl: Any, release: Callable[[], Release], values: dict[str, Any]):
    made = release()
    text = helm.template(OPERATOR, values, "--namespace", made.namespace, release=made.name)

    ended = kubectl("apply", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=text)

    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == len(Objects(text).all)


def test_the_api_server_takes_the_definitions_chart(helm: Helm, kubectl: Any, definition: dict[str, Any]):
    ended = kubectl("apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", "-", stdin=helm.template(CRDS))

    assert (ended.code, ended.stderr) == (0, "")


def test_a_namespace_for_restricted_pods_takes_the_operators(helm: Helm, rest: Rest, installed: Release):
    pods = f"/api/v1/namespaces/{installed.namespace}/pods"
    template = helm.render({}, release=installed.name).pod()
    pod = {"metadata": {"name": "operator", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}

    assert rest("POST", pods, pod, dryRun="All").ok
    pod["spec"] = pod["spec"] | {"securityContext": {}}
    assert 'violates PodSecurity "restricted' in rest("POST", pods, pod, dryRun="All").message
