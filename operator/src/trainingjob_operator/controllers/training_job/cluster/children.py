"""What jobs own in the cluster: seen through informers, made, and deleted. Effects.

Pods are kept as far as the policies need them, ControllerRevisions whole, of the other kinds only the names. Secrets may be created and
never read: that one is there is known from having made it, or from a rendezvous that runs, and forgotten when a pod misses it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

from trainingjob_operator.controllers.training_job.children import names, revision
from trainingjob_operator.controllers.training_job.cluster import nodes, pods
from trainingjob_operator.controllers.training_job.cluster.nodes import KnownNode
from trainingjob_operator.controllers.training_job.cluster.pods import KnownPod
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Deletion, JobKey, Manifest, Pinned, Pod
from trainingjob_operator.engine.api import APPLY_PATCH, Api, ApiError
from trainingjob_operator.engine.informer import Informer, Informers
from trainingjob_operator.engine.resources import CHILDREN, NETWORK_POLICIES, NODES, PODS, REVISIONS, SERVICES, Resource, owner

MANAGER = "trainingjob-operator"
_APPLIED = frozenset({"Service", "NetworkPolicy"})
"""Kinds that may change: they are applied, the others are made once."""
_GRACE_MARGIN_SECONDS = 5.0


@dataclass(frozen=True)
class KnownObject:
    """A child that is no pod."""

    job: JobKey
    job_uid: str
    kind: str
    name: str
    pinned: Pinned | None = field(default=None, compare=False)
    """What a ControllerRevision keeps, which never changes."""


class Children:
    """All pods and other children of all TrainingJobs."""

    def __init__(self, api: Api, wake: Callable[[JobKey], None], namespaces: Collection[str] = (), *, watch_nodes: bool = True) -> None:
        """`wake` is told of every job whose children, or whose pods' nodes, have changed.

        Of `namespaces` if there are any, otherwise of all. Without `watch_nodes` every node is taken for sound.
        """
        self._api = api
        self._wake = wake
        self._pods: defaultdict[JobKey, dict[str, KnownPod]] = defaultdict(dict)
        self._objects: defaultdict[JobKey, set[KnownObject]] = defaultdict(set)
        self._on_node: defaultdict[str, set[JobKey]] = defaultdict(set)
        self._gone: set[str] = set()
        """Nodes with pods whose end has been seen. One that was never seen may be too new: pods and nodes are watched apart."""
        self._secrets: dict[JobKey, set[str]] = {}
        self._pod_informers = Informers(
            lambda place: Informer(api, PODS, pods.read, self._pod_changed, namespace=place, selector=names.JOB_LABEL), namespaces
        )
        self._object_informers = {
            resource.kind: Informers(partial(self._object_informer, resource), namespaces)
            for resource in (SERVICES, NETWORK_POLICIES, REVISIONS)
        }
        self._node_informer = Informer(api, NODES, nodes.read, self._node_changed)
        objects = chain.from_iterable(self._object_informers.values())
        self.informers: tuple[Informer[Any], ...] = (*self._pod_informers, *([self._node_informer] if watch_nodes else []), *objects)

    def pods(self, key: JobKey, uid: str, now: datetime) -> tuple[Pod, ...]:
        """The pods of the job with this uid, with what their nodes say of them."""
        known = self._pods.get(key, {}).values()
        return tuple(self._judged(pod, now) for pod in known if pod.job_uid == uid)

    def objects(self, key: JobKey, uid: str) -> frozenset[tuple[str, str]]:
        """(kind, name) of the job's other children."""
        seen = {(child.kind, child.name) for child in self._objects.get(key, ()) if child.job_uid == uid}
        return frozenset(seen | {("Secret", name) for name in self._secrets.get(key, ())})

    def pinned(self, key: JobKey, uid: str, name: str) -> Pinned | None:
        """What the job's ControllerRevision of this name keeps; None if it is not there."""
        known = (child for child in self._objects.get(key, ()) if child.job_uid == uid and child.name == name)
        return next((child.pinned for child in known if child.pinned is not None), None)

    async def create(self, key: JobKey, manifest: Manifest) -> None:
        """Make a child, or apply it if its kind may change. One that is there already is taken for what it is.

        Raises:
            As Api.call.
        """
        resource, metadata = CHILDREN[manifest["kind"]], manifest["metadata"]
        try:
            if resource.kind in _APPLIED:
                query = f"fieldManager={MANAGER}&force=true"
                path = resource.path(metadata["namespace"], metadata["name"])
                answer = await self._api.call("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH)
            else:
                answer = await self._api.call("POST", resource.path(metadata["namespace"]), body=manifest)
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
            answer = await self._existing(resource, manifest)
        self._put(key, resource, answer)

    async def delete(self, namespace: str, deletion: Deletion) -> None:
        """Delete a pod, if it is still the one that is known; one that is gone is what was wanted.

        Raises:
            ValueError: the deletion is of another kind, which the operator has no rule for.
            Otherwise as Api.call.
        """
        if deletion.kind != PODS.kind:
            raise ValueError(f"{deletion.kind} {deletion.name}: only pods are deleted one by one")
        informer = self._pod_informers.at(namespace)
        known = informer.get(namespace, deletion.name)
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if known is not None:
            options["preconditions"] = {"uid": known.uid}
        if deletion.grace_seconds is not None:
            options["gracePeriodSeconds"] = deletion.grace_seconds
        try:
            answer = await self._api.call("DELETE", PODS.path(namespace, deletion.name), body=options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return
        if answer.get("kind") == "Pod":
            informer.put(answer)

    def forget(self, key: JobKey) -> None:
        """The job is gone."""
        self._secrets.pop(key, None)

    async def _existing(self, resource: Resource, manifest: Manifest) -> Manifest:
        """The object that has the name already.

        Raises:
            ApiError: it is somebody else's.
        """
        metadata = manifest["metadata"]
        if resource.kind != "Pod":
            return manifest  # its name carries the hash of the job's uid, a revision's that of its data too: it says the same
        query = f"fieldSelector=metadata.name%3D{metadata['name']}"
        found = (await self._api.call("GET", resource.path(metadata["namespace"]), query=query)).get("items") or ()
        if not found:
            raise ApiError(409, "Conflict", f"{resource.kind} {metadata['name']} was there a moment ago")
        if owner(found[0]["metadata"]) != owner(metadata):
            message = f"{resource.kind} {metadata['name']} belongs to somebody else; delete it, or give the job another name"
            raise ApiError(422, "NotOurs", message)
        existing: Manifest = found[0]
        return existing

    def _put(self, key: JobKey, resource: Resource, answer: Manifest) -> None:
        if resource.kind == "Secret":
            self._secrets.setdefault(key, set()).add(answer["metadata"]["name"])
        elif resource.kind == "Pod":
            self._pod_informers.at(key.namespace).put(answer)
        else:
            self._object_informers[resource.kind].at(key.namespace).put(answer)

    def _object_informer(self, resource: Resource, namespace: str | None) -> Informer[KnownObject | None]:
        return Informer(
            self._api,
            resource,
            _reader(resource),
            self._object_changed,
            namespace=namespace,
            selector=names.JOB_LABEL,
            metadata_only=resource is not REVISIONS,
        )

    def _judged(self, known: KnownPod, now: datetime) -> Pod:
        trouble = self._trouble(known.node)
        if not trouble or known.pod.over():
            return known.pod
        overdue = known.gone_by is not None and (now - known.gone_by).total_seconds() > _GRACE_MARGIN_SECONDS
        stuck = overdue and not known.has_volume
        return replace(known.pod, reason=NODE_LOST, message=f"node {known.node} {trouble}", stuck=stuck)

    def _trouble(self, node: str) -> str:
        known: KnownNode | None = self._node_informer.get("", node)
        if known is not None:
            return known.trouble
        return "is gone" if node in self._gone else ""

    def _pod_changed(self, old: KnownPod | None, new: KnownPod | None) -> None:
        for known in (old, new):
            if known is not None:
                self._wake(known.job)
        if old is not None and (new is None or new.job != old.job):
            self._pods[old.job].pop(old.pod.name, None)
            if not self._pods[old.job]:
                del self._pods[old.job]
        if new is not None:
            self._pods[new.job][new.pod.name] = new
            if new.node:
                self._on_node[new.node].add(new.job)
            self._judge_secret(new)

    def _judge_secret(self, new: KnownPod) -> None:
        """Of one that cannot be read, pods tell: it is there if they run, and perhaps somebody has deleted it if one cannot."""
        if new.misses_secret():
            self._secrets.pop(new.job, None)
        elif new.secret and new.job not in self._secrets and not any(pod.misses_secret() for pod in self._pods[new.job].values()):
            self._secrets[new.job] = {new.secret}

    def _object_changed(self, old: KnownObject | None, new: KnownObject | None) -> None:
        if old is not None and old != new:
            self._objects[old.job].discard(old)
            if not self._objects[old.job]:
                del self._objects[old.job]
            self._wake(old.job)
        if new is not None:
            self._objects[new.job].add(new)

    def _node_changed(self, old: KnownNode | None, new: KnownNode | None) -> None:
        if new is not None:
            name = new.name
            self._gone.discard(name)
        elif old is not None:
            name = old.name
            self._gone = (self._gone | {name}) & {pod.node for pods in self._pods.values() for pod in pods.values()}
        keys = {key for key in self._on_node.pop(name, ()) if key in self._pods}
        if keys:
            self._on_node[name] = keys
        for key in keys:
            self._wake(key)


def _reader(resource: Resource) -> Callable[[Manifest], KnownObject | None]:
    def read(manifest: Manifest) -> KnownObject | None:
        metadata = manifest["metadata"]
        owned = owner(metadata)
        if owned is None:
            return None
        name, uid = owned
        pinned = revision.read(manifest) if resource is REVISIONS else None
        return KnownObject(JobKey(metadata["namespace"], name), uid, resource.kind, metadata["name"], pinned)

    return read


async def synced(children: Children) -> None:
    """Wait until all that there is has been seen once."""
    await asyncio.gather(*(informer.synced.wait() for informer in children.informers))
