"""What a test needs in the API server before it begins: the TrainingJob definition, and a namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from integration.rest import Rest
from local_job import until
from trainingjob_api import resource

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FILE = Path(__file__).parents[2] / "crds" / "trainingjob.yaml"


def install(rest: Rest) -> dict[str, Any]:
    """Create the definition, wait until it is served and explained, and return it as the API server has it."""
    body = YAML(typ="safe").load(FILE.read_text())
    answer = rest("POST", DEFINITIONS, body)
    assert answer.ok, answer.message
    assert answer.warnings == ()
    name = body["metadata"]["name"]
    until("the definition is established", lambda: conditions(rest("GET", f"{DEFINITIONS}/{name}").body).get("Established") == "True")
    served = f"/apis/{resource.API_VERSION}/{resource.PLURAL}"
    until("TrainingJobs are served", lambda: rest("GET", served).ok)
    until("TrainingJobs are explained", lambda: rest("GET", f"/openapi/v3/apis/{resource.API_VERSION}").ok)
    found: dict[str, Any] = rest("GET", f"{DEFINITIONS}/{name}").body
    return found


def conditions(body: dict[str, Any]) -> dict[str, str]:
    """The conditions of any object: type -> status."""
    return {condition["type"]: condition["status"] for condition in body.get("status", {}).get("conditions") or ()}


def make_namespace(rest: Rest, name: str) -> str:
    """Create a namespace, and the service account that a cluster's controllers put into it."""
    for path, kind, named in (
        ("/api/v1/namespaces", "Namespace", name),
        (f"/api/v1/namespaces/{name}/serviceaccounts", "ServiceAccount", "default"),
    ):
        answer = rest("POST", path, {"apiVersion": "v1", "kind": kind, "metadata": {"name": named}})
        assert answer.ok, answer.message
    return name
