"""A release of a chart in the API server, and the job that must not mind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chart.charts import Helm
from integration.rest import Rest
from trainingjob_api.resource import API_VERSION, KIND

JOBS = f"/apis/{API_VERSION}/namespaces/{{team}}/trainingjobs"
JOB = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "digits"},
    "spec": {
        "workers": {"replicas": 3, "minReplicas": 1},
        "training": {"task": {"class": "a:A"}, "epochs": 1, "globalBatchSize": 8},
        "checkpoint": {"storage": {"uri": "s3://bucket/digits"}},
    },
}
RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


@dataclass(frozen=True)
class Release:
    """One release of one chart."""

    helm: Helm
    kubeconfig: Path
    name: str
    namespace: str

    @property
    def account(self) -> str:
        """The operator's user name."""
        return f"system:serviceaccount:{self.namespace}:{self.name}-trainingjob-operator"

    def __call__(self, verb: str, *arguments: str) -> str:
        """`helm install|upgrade|rollback|uninstall NAME …`; what it says."""
        where = ("--namespace", self.namespace, "--kubeconfig", str(self.kubeconfig))
        ended = self.helm.run(verb, self.name, *arguments, *where)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def bind(rest: Rest, user: str, role: str, namespace: str) -> None:
    """Give a user a cluster's role in a namespace."""
    group = "rbac.authorization.k8s.io"
    body = {
        "metadata": {"name": f"{user}-{role}"[:63]},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    answer = rest("POST", f"/apis/{group}/v1/namespaces/{namespace}/rolebindings", body)
    assert answer.ok, answer.message
