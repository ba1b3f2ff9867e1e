"""The operator makes pods that pass the restricted standard and carry no API token: what it may not add to a worker's pod, one by one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from integration.chart.guarded import make
from integration.rest import Rest
from trainingjob_operator.engine.values import Manifest

TOKEN = {"serviceAccountToken": {"path": "token"}}
CLOUD = {"serviceAccountToken": {"path": "token", "audience": "sts.amazonaws.com"}}
POD = "spec.securityContext"
CONTAINER = "spec.containers[*].securityContext"


def changed(manifest: Manifest, way: str, value: Any) -> Manifest:
    """A copy with `value` at the end of a way such as spec/containers/0/securityContext; None takes it out."""
    copy = deepcopy(manifest)
    *parents, last = way.split("/")
    place: Any = copy
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def volumes(*kinds: dict[str, Any]) -> tuple[str, Any]:
    """These volumes."""
    return "spec/volumes", [{"name": f"v{number}"} | kind for number, kind in enumerate(kinds)]


INITIAL = {"name": "proxy", "image": "proxy"}
SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
OWN = "spec/containers/0/securityContext"
REFUSED = {
    "host network": ("spec/hostNetwork", True, "spec.hostNetwork"),
    "host pid": ("spec/hostPID", True, "spec.hostPID"),
    "host ipc": ("spec/hostIPC", True, "spec.hostIPC"),
    "host port": ("spec/containers/0/ports", [{"containerPort": 80, "hostPort": 80}], "spec.containers[*].ports[*].hostPort"),
    "host path": (*volumes({"hostPath": {"path": "/"}}), "spec.volumes"),
    "host path beside others": (*volumes({"emptyDir": {}}, {"hostPath": {"path": "/"}}), "spec.volumes"),
    "nfs": (*volumes({"nfs": {"server": "a", "path": "/"}}), "spec.volumes"),
    "a token by default": ("spec/automountServiceAccountToken", None, "spec.automountServiceAccountToken"),
    "a token": ("spec/automountServiceAccountToken", True, "spec.automountServiceAccountToken"),
    "a projected token": (*volumes({"projected": {"sources": [TOKEN]}}), "spec.volumes[*].projected"),
    "a projected token beside a cloud's": (*volumes({"projected": {"sources": [CLOUD, TOKEN]}}), "spec.volumes[*].projected"),
    "privileged": (OWN, {"privileged": True, "capabilities": {"drop": ["ALL"]}}, CONTAINER),
    "escalation": (f"{OWN}/allowPrivilegeEscalation", True, CONTAINER),
    "escalation by default": (f"{OWN}/allowPrivilegeEscalation", None, CONTAINER),
    "no context": (OWN, None, CONTAINER),
    "an injected container": ("spec/initContainers", [INITIAL], CONTAINER),
    "capabilities kept": (f"{OWN}/capabilities", {"drop": ["NET_RAW"]}, f"{CONTAINER}.capabilities"),
    "capabilities by default": (f"{OWN}/capabilities", None, f"{CONTAINER}.capabilities"),
    "a capability added": (f"{OWN}/capabilities/add", ["NET_ADMIN"], f"{CONTAINER}.capabilities"),
    "root allowed": ("spec/securityContext/runAsNonRoot", None, f"{POD}.runAsNonRoot"),
    "root allowed in the container": (f"{OWN}/runAsNonRoot", False, f"{POD}.runAsNonRoot"),
    "user root": ("spec/securityContext/runAsUser", 0, f"{POD}.runAsUser"),
    "user root in the container": (f"{OWN}/runAsUser", 0, f"{POD}.runAsUser"),
    "seccomp by default": ("spec/securityContext/seccompProfile", None, f"{POD}.seccompProfile.type"),
    "seccomp off": ("spec/securityContext/seccompProfile/type", "Unconfined", f"{POD}.seccompProfile.type"),
    "seccomp off in the container": (f"{OWN}/seccompProfile", {"type": "Unconfined"}, f"{POD}.seccompProfile.type"),
    "sysctls": ("spec/securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}], POD),
    "selinux type": ("spec/securityContext/seLinuxOptions", {"type": "spc_t"}, POD),
    "selinux user in the container": (f"{OWN}/seLinuxOptions", {"user": "root"}, POD),
    "apparmor off": (f"{OWN}/appArmorProfile", {"type": "Unconfined"}, POD),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_pod_that_could_reach_beyond_itself_is_refused_with_the_field(guarded: Rest, children: dict[str, Manifest], case: str):
    way, value, field = REFUSED[case]

    answer = make(guarded, changed(children["Pod"], way, value))

    assert answer.code == 403
    assert "denied request: spec." in answer.message
    assert field in answer.message.partition("denied request: ")[2]


def test_a_pod_that_sees_the_nodes_processes_is_refused(guarded: Rest, children: dict[str, Manifest]):
    apart = changed(children["Pod"], "spec/hostUsers", False)  # without that the API server itself refuses it

    answer = make(guarded, changed(apart, f"{OWN}/procMount", "Unmasked"))

    assert answer.code == 403
    assert CONTAINER in answer.message


TAKEN = {
    "the template's volumes": volumes(
        {"emptyDir": {}}, {"configMap": {"name": "a"}}, {"secret": {"secretName": "a"}}, {"persistentVolumeClaim": {"claimName": "a"}}
    ),
    "a cloud's token": volumes({"projected": {"sources": [CLOUD]}}),
    "projected files": volumes({"projected": {"sources": [{"configMap": {"name": "a"}}]}}),
    "an injected container that keeps to it": ("spec/initContainers", [INITIAL | {"securityContext": SAFE}]),
    "another user": ("spec/securityContext/runAsUser", 1000),
    "a level of selinux": ("spec/securityContext/seLinuxOptions", {"level": "s0:c1,c2"}),
    "a profile of the node": ("spec/securityContext/seccompProfile", {"type": "Localhost", "localhostProfile": "a.json"}),
    "the container's own words": (OWN, SAFE | {"runAsNonRoot": True, "runAsUser": 7, "seccompProfile": {"type": "RuntimeDefault"}}),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_the_restricted_standard_allows_is_taken(guarded: Rest, children: dict[str, Manifest], case: str):
    answer = make(guarded, changed(children["Pod"], *TAKEN[case]))

    assert answer.ok, answer.message
