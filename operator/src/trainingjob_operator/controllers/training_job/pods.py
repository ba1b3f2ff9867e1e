"""What the operator keeps of a pod: a few words for the policies, a few for itself. Pure.

The agent's last words come from the pod's termination message: they are the user's container's to write, so they are read strictly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from trainingjob_api.contract.runtime import PREFIX, Termination
from trainingjob_api.contract.strict import parsed
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.state import Pod, PodPhase, Role
from trainingjob_operator.engine.values import Manifest

MAX_WORDS = 4096
MAX_MESSAGE = 300
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
_DISRUPTIONS = {"PreemptionByScheduler": "Preempted", "EvictionByEvictionAPI": "Evicted", "TerminationByKubelet": "Shutdown"}
"""Kubernetes' reasons of the condition DisruptionTarget, in the words of pods' own reasons."""
_CONFIGURATION = "CreateContainerConfigError"


@dataclass(frozen=True)
class KnownPod:
    """A pod of a job."""

    pod: Pod
    gone_by: datetime | None = None
    """Of a pod that is being deleted: when its grace ends."""
    has_volume: bool = False
    """It holds a claim that may be for one node only, so that it must not be thought gone before it is."""
    secret: str = ""
    """Of a rendezvous that runs: the job's Secret, which it could not run without."""

    def misses_secret(self) -> bool:
        """Something that its containers name is not there."""
        return self.pod.reason == _CONFIGURATION


def read(manifest: Manifest) -> KnownPod | None:
    """The pod, or None if its labels are not those of a TrainingJob's."""
    metadata, spec, status = manifest["metadata"], manifest.get("spec", {}), manifest.get("status", {})
    labels = metadata.get("labels") or {}
    try:
        role = Role(labels.get(names.ROLE_LABEL, ""))
        incarnation = int(labels[names.EPOCH_LABEL if role is Role.RENDEZVOUS else names.INCARNATION_LABEL])
        index = int(labels.get(names.WORKER_INDEX_LABEL, 0))
    except (ValueError, KeyError):
        return None
    deleted = metadata.get("deletionTimestamp")
    reason, message = _reason(status)
    ended = _ended(status)
    pod = Pod(
        name=metadata["name"],
        role=role,
        phase=_phase(status),
        index=index,
        incarnation=incarnation,
        node=spec.get("nodeName", ""),
        created=_time(metadata.get("creationTimestamp")),
        deleting=deleted is not None,
        termination=_termination(ended.get("message")),
        exit_code=ended.get("exitCode"),
        reason=reason,
        message=message,
    )
    return KnownPod(
        pod=pod,
        gone_by=_time(deleted),
        has_volume=any("persistentVolumeClaim" in volume or "ephemeral" in volume for volume in spec.get("volumes") or ()),
        secret=_secret(spec) if role is Role.RENDEZVOUS and pod.phase is PodPhase.RUNNING and not pod.deleting else "",
    )


def _secret(spec: Manifest) -> str:
    variables = (variable for container in spec.get("containers") or () for variable in container.get("env") or ())
    own = (variable.get("valueFrom") or {} for variable in variables if variable["name"].startswith(PREFIX))
    return next((source["secretKeyRef"]["name"] for source in own if "secretKeyRef" in source), "")


def _time(word: str | None) -> datetime | None:
    return None if word is None else datetime.fromisoformat(word)


def _phase(status: Manifest) -> PodPhase:
    word = status.get("phase", "Pending")
    return PodPhase(word) if word in set(PodPhase) else PodPhase.RUNNING  # Unknown: nothing is concluded from it


def _containers(status: Manifest) -> Iterator[dict[str, Any]]:
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield container.get("state") or {}


def _ended(status: Manifest) -> dict[str, Any]:
    """How the worker's container ended."""
    for container in status.get("containerStatuses") or ():
        if container.get("name") in ("worker", "rendezvous"):
            ended: dict[str, Any] = (container.get("state") or {}).get("terminated") or {}
            return ended
    return {}


def _reason(status: Manifest) -> tuple[str, str]:
    """Why it does not run (any more), in Kubernetes' words."""
    disrupted = _condition(status, "DisruptionTarget")
    if disrupted.get("status") == "True":
        word = disrupted.get("reason", "")
        return _DISRUPTIONS.get(word, word), _short(disrupted.get("message"))
    if status.get("reason"):
        return status["reason"], _short(status.get("message"))
    for state in _containers(status):
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") and waiting["reason"] not in _STARTING:
            return waiting["reason"], _short(waiting.get("message"))
        if ended.get("exitCode") and ended.get("reason") not in ("", None, "Error"):
            return ended["reason"], ""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return scheduled.get("reason", ""), _short(scheduled.get("message"))
    return "", ""


def _condition(status: Manifest, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((condition for condition in status.get("conditions") or () if condition.get("type") == kind), {})
    return found


def _short(message: str | None) -> str:
    return (message or "").strip()[:MAX_MESSAGE]


def _termination(words: str | None) -> Termination | None:
    if not words or len(words) > MAX_WORDS:
        return None
    try:
        return parsed(partial(Termination.model_validate_json, strict=True), words)
    except ValueError:
        return None
