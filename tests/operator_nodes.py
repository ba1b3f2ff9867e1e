"""The nodes under a simulated job's pods, one for each: what the API server is told when one of them is cut off, and what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from trainingjob_api.contract.intent import Report
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Pod, Role

GRACE_SECONDS = 60
MARGIN_SECONDS = 5


@dataclass
class Nodes:
    """Which pods' nodes are lost. Such a pod goes on, and nobody can say so: not that it runs, fails or is gone."""

    volumes: bool = False
    """The pods hold claims that only one pod may hold."""
    lost: set[str] = field(default_factory=set)
    """Pods whose nodes the control plane does not hear."""
    cut: set[str] = field(default_factory=set)
    """Rendezvous that nobody hears."""
    ends: dict[str, datetime] = field(default_factory=dict)
    """Pods that are being deleted on a lost node, and when their grace ends."""

    def lose(self, pod: Pod, *, heard: bool) -> None:
        """The node falls silent; `heard`: the pod itself still has a network."""
        self.lost.add(pod.name)
        if not heard and pod.role is Role.RENDEZVOUS:
            self.cut.add(pod.name)

    def come_back(self, name: str) -> None:
        """The node is there again, or its pod is gone for good."""
        self.lost.discard(name)
        self.cut.discard(name)
        self.ends.pop(name, None)

    def holds(self, pod: Pod, now: datetime) -> bool:
        """The pod is to be deleted, and its node does not hear of it."""
        if pod.name not in self.lost:
            return False
        self.ends.setdefault(pod.name, now + timedelta(seconds=GRACE_SECONDS))
        return True

    def seen(self, pod: Pod, now: datetime) -> Pod:
        """The pod as the operator's backend tells of it."""
        if pod.name not in self.lost or pod.over():
            return pod
        ends = self.ends.get(pod.name)
        overdue = pod.deleting and ends is not None and (now - ends).total_seconds() > MARGIN_SECONDS
        return replace(pod, reason=NODE_LOST, message="its node is not ready", stuck=overdue and not self.volumes)

    def check_forced(self, pod: Pod, now: datetime, report: Report | None, training: set[tuple[int, int]], *, at_rest: bool) -> None:
        """The pod is thought gone while it may still run: only when that can do no harm."""
        assert self.seen(pod, now).stuck, f"{pod.name} is forced before its time, or with a claim in its hands"
        if at_rest:
            return
        assert report is not None, f"{pod.name} is forced, and nobody says that others go on"
        if pod.role is Role.WORKER:
            assert report.stage == "Running"
            assert (pod.index, pod.incarnation) not in training, f"{pod.name} is forced, and trains"
        else:
            assert pod.incarnation < report.epoch, f"{pod.name} is forced, and is the newest"

    def is_evidence(self, pod: Pod, report: Report | None, *, reporting: bool) -> bool:
        """The worker may be replaced because of its node."""
        members = {(member.worker, member.incarnation) for member in report.members} if report is not None and reporting else set()
        return pod.name in self.lost and (pod.index, pod.incarnation) not in members


def ended(pods: Mapping[str, Pod], nodes: Nodes) -> list[Pod]:
    """The pods whose deletion a kubelet brings to its end."""
    return [pod for pod in pods.values() if pod.deleting and pod.name not in nodes.lost]
