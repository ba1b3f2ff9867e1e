"""What jobs own in the cluster, with what their nodes and pods tell of it. Effects: informers.

Pods are kept as far as the policies need them, ControllerRevisions whole, of the other kinds only the names. Secrets may be created and
never read: that one is there is known from having made it, or from a rendezvous that runs, and forgotten when a pod misses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainingjob_operator.controllers.training_job.child_kinds import CHILD_KINDS
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.cluster import nodes
from trainingjob_operator.controllers.training_job.cluster.nodes import KnownNode
from trainingjob_operator.controllers.training_job.pods import KnownPod
from trainingjob_operator.controllers.training_job.state import NODE_LOST, TRAINING_JOBS, Pinned, Pod
from trainingjob_operator.engine.cluster.api import Api
from trainingjob_operator.engine.cluster.children import Child, Children
from trainingjob_operator.engine.cluster.informer import Informer
from trainingjob_operator.engine.resources import NODES, PODS, REVISIONS, SECRETS
from trainingjob_operator.engine.values import ResourceKey

_GRACE_MARGIN_SECONDS = 5.0


class JobChildren(Children):
    """All pods and other children of all TrainingJobs."""

    def __init__(
        self, api: Api, wake: Callable[[ResourceKey], None], namespaces: Collection[str] = (), *, watch_nodes: bool = True
    ) -> None:
        """`wake` is told of every job whose children, or whose pods' nodes, have changed.

        Of `namespaces` if there are any, otherwise of all. Without `watch_nodes` every node is taken for sound.
        """
        super().__init__(api, TRAINING_JOBS, CHILD_KINDS, wake, namespaces, selector=names.JOB_LABEL, news=self._changed_child)
        self._watch_nodes = watch_nodes
        self._on_node: defaultdict[str, set[ResourceKey]] = defaultdict(set)
        self._gone: set[str] = set()
        """Nodes with pods whose end has been seen. One that was never seen may be too new: pods and nodes are watched apart."""
        self._node_informer = Informer(api, NODES, nodes.read, self._node_changed)

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """Those of the children, and of the nodes."""
        return (*super().informers, *([self._node_informer] if self._watch_nodes else []))

    def pods(self, key: ResourceKey, uid: str, now: datetime) -> tuple[Pod, ...]:
        """The pods of the job with this uid, with what their nodes say of them."""
        return tuple(self._judged(child.value, now) for child in self.of(PODS.kind, key, uid))

    def others(self, key: ResourceKey, uid: str) -> frozenset[tuple[str, str]]:
        """(kind, name) of the job's other children."""
        return self.names(key, uid, without=PODS.kind)

    def pinned(self, key: ResourceKey, uid: str, name: str) -> Pinned | None:
        """What the job's ControllerRevision of this name keeps; None if it is not there."""
        return next((child.value for child in self.of(REVISIONS.kind, key, uid) if child.name == name), None)

    def _judged(self, known: KnownPod, now: datetime) -> Pod:
        trouble = self._trouble(known.pod.node)
        if not trouble or known.pod.over():
            return known.pod
        overdue = known.gone_by is not None and (now - known.gone_by).total_seconds() > _GRACE_MARGIN_SECONDS
        stuck = overdue and not known.has_volume
        return replace(known.pod, reason=NODE_LOST, message=f"node {known.pod.node} {trouble}", stuck=stuck)

    def _trouble(self, node: str) -> str:
        known: KnownNode | None = self._node_informer.get("", node)
        if known is not None:
            return known.trouble
        return "is gone" if node in self._gone else ""

    def _changed_child(self, old: Child[Any] | None, new: Child[Any] | None) -> None:
        if new is not None and new.kind == PODS.kind:
            if new.value.pod.node:
                self._on_node[new.value.pod.node].add(new.owner)
            self._judge_secret(new)

    def _judge_secret(self, new: Child[KnownPod]) -> None:
        """Of one that cannot be read, pods tell: it is there if they run, and perhaps somebody has deleted it if one cannot."""
        if new.value.misses_secret():
            self.forget(new.owner, SECRETS.kind)
            return
        if not new.value.secret or self.remembered(SECRETS.kind, new.owner):
            return
        if not any(pod.value.misses_secret() for pod in self.all_of(PODS.kind)[new.owner].values()):
            self.remember(SECRETS.kind, new.owner, new.value.secret)

    def _node_changed(self, old: KnownNode | None, new: KnownNode | None) -> None:
        pods = self.all_of(PODS.kind)
        if new is not None:
            name = new.name
            self._gone.discard(name)
        elif old is not None:
            name = old.name
            self._gone = (self._gone | {name}) & {pod.value.pod.node for each in pods.values() for pod in each.values()}
        keys = {key for key in self._on_node.pop(name, ()) if key in pods}
        if keys:
            self._on_node[name] = keys
        for key in keys:
            self._wake(key)
