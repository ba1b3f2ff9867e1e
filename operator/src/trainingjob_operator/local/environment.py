"""From a pod's manifest to the arguments and the environment of a local process. Pure.

It must not read files or the environment: both are arguments. No error message of it has a secret in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainingjob_api.contract.variables import expand
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local.given import decoded, given, values
from trainingjob_operator.local.processes import MARK

LOOPBACK = "127.0.0.1"


class UnresolvedError(ValueError):
    """A variable of the manifest names something that does not exist here."""


@dataclass(frozen=True)
class Place:
    """Where a pod's process runs, and what it may see of this machine."""

    uid: str
    """Of the pod, unique for ever."""
    python: str
    """The interpreter that `python` in a command stands for."""
    directory: str
    """Where the manifest lies: modules of the user's own are found there, after those of the caller's PYTHONPATH."""
    termination_log: str
    scratch: str
    port: int | None
    """The loopback port of the job's Service."""
    caller: Mapping[str, str]
    """The environment of whoever runs the job: PATH, credentials, …"""
    secrets: Mapping[str, Manifest]
    """The job's own Secrets by name."""
    given: Sequence[Manifest] = ()
    """Secrets and ConfigMaps that came in one file with the job."""


def arguments(pod: Manifest, python: str, variables: Mapping[str, str] | None = None) -> list[str]:
    """The command line of the pod's first container, with the container's own `variables` in it.

    Raises:
        UnresolvedError: the container has no command: what its image would run is not known here.
    """
    container = _container(pod)
    words = [expand(word, variables or {}) for word in (*container.get("command", []), *container.get("args", []))]
    if not words:
        raise UnresolvedError(f"pod {pod['metadata']['name']} has no command: local processes need one")
    return [python if words[0] in ("python", "python3") else words[0], *words[1:]]


def environment(pod: Manifest, place: Place) -> dict[str, str]:
    """The variables of the pod's process: the caller's, the manifest's over them, and this machine's over both.

    Raises:
        UnresolvedError: a variable refers to a Secret or field that is not here.
    """
    found = {name: value for name, value in place.caller.items() if not name.startswith("TRAININGJOB_")}
    own = manifest_variables(pod, place)
    found.update(own)
    found["PATH"] = ":".join(part for part in (str(Path(place.python).parent), found.get("PATH", "")) if part)
    if "TRAININGJOB_WORKER" in own:
        found["PYTHONPATH"] = ":".join(part for part in (found.get("PYTHONPATH", ""), place.directory) if part)
    found.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does: several workers share this machine's processors
    found.update(
        {
            "PYTHONUNBUFFERED": "1",
            MARK: place.uid,
            "TRAININGJOB_TERMINATION_LOG": place.termination_log,
            "TRAININGJOB_SCRATCH": place.scratch,
            "TRAININGJOB_INTERFACE": "lo",
        }
    )
    if place.port is not None:
        found.update(_addresses(own, place.port))
    return found


def manifest_variables(pod: Manifest, place: Place) -> dict[str, str]:
    """What the manifest itself sets, resolved in the kubelet's order: a value may refer to what stands before it."""
    found = _from_sources(_container(pod).get("envFrom", []), place)
    for variable in _container(pod).get("env", []):
        name = variable["name"]
        value = _resolved(variable, pod, place) if "valueFrom" in variable else expand(str(variable.get("value", "")), found)
        if value is not None:
            found[name] = value
    return found


def _from_sources(sources: Sequence[Mapping[str, Any]], place: Place) -> dict[str, str]:
    """Every key of the Secrets and ConfigMaps that are given; for others the caller's environment stands."""
    found: dict[str, str] = {}
    for source in sources:
        kind = "Secret" if "secretRef" in source else "ConfigMap"
        reference = source.get("secretRef") or source.get("configMapRef") or {}
        held = values(place.given, kind, reference.get("name", "")) or {}
        found |= {source.get("prefix", "") + key: value for key, value in held.items()}
    return found


def _addresses(own: Mapping[str, str], port: int) -> dict[str, str]:
    """Who listens and who connects meet at the Service's port of the loopback."""
    if "TRAININGJOB_WORKER" in own:
        return {"TRAININGJOB_RENDEZVOUS": f"{LOOPBACK}:{port}", "TRAININGJOB_ADDRESS": LOOPBACK}
    return {"TRAININGJOB_BIND": LOOPBACK, "TRAININGJOB_PORT": str(port)}


def _resolved(variable: Mapping[str, Any], pod: Manifest, place: Place) -> str | None:
    name, source = variable["name"], variable["valueFrom"]
    if reference := source.get("secretKeyRef") or source.get("configMapKeyRef"):
        return _referred(name, "Secret" if "secretKeyRef" in source else "ConfigMap", reference, place)
    if reference := source.get("fieldRef"):
        return _field(name, reference["fieldPath"], pod, place)
    raise UnresolvedError(
        f"variable {name}: only secretKeyRef, configMapKeyRef and fieldRef can be resolved for local processes, not {', '.join(source)}"
    )


def _referred(name: str, kind: str, reference: Mapping[str, Any], place: Place) -> str | None:
    own = place.secrets.get(reference["name"]) if kind == "Secret" else None
    manifest = given(place.given, kind, reference["name"]) if own is None else own
    found = {} if manifest is None else decoded(manifest)
    if reference["key"] in found:
        return found[reference["key"]]
    if manifest is not None and reference["key"] in (manifest.get("data") or {}):
        raise UnresolvedError(f"variable {name}: {kind} {reference['name']}: {reference['key']} holds bytes that are no UTF-8 text")
    if name in place.caller:  # a user's own Secret or ConfigMap lives in the cluster; here the caller's environment stands for it
        return place.caller[name]
    if reference.get("optional"):
        return None
    raise UnresolvedError(
        f"variable {name} comes from {reference['name']} in the cluster, which local processes cannot read: export {name} instead, "
        f"or put the {kind} into the job's file"
    )


def _field(name: str, path: str, pod: Manifest, place: Place) -> str:
    metadata = pod["metadata"]
    simple = {
        "status.podIP": LOOPBACK,
        "status.hostIP": LOOPBACK,
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", "default"),
        "metadata.uid": place.uid,
        "spec.nodeName": "localhost",
    }
    if path in simple:
        return str(simple[path])
    for prefix in ("labels", "annotations"):
        if path.startswith(f"metadata.{prefix}['") and path.endswith("']"):
            return str(metadata.get(prefix, {}).get(path[len(f"metadata.{prefix}['") : -2], ""))
    raise UnresolvedError(f"variable {name}: the field {path} is not known to local processes")


def _container(pod: Manifest) -> dict[str, Any]:
    container: dict[str, Any] = pod["spec"]["containers"][0]
    return container
