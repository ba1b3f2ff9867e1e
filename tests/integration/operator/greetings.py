"""Another kind, as a controller's folder would hold it: a Greeting wants one ConfigMap that says its text."""

from __future__ import annotations

from datetime import datetime

from trainingjob_operator.engine.cluster.controller import Tools
from trainingjob_operator.engine.cluster.plain import PlainController, Plan, Seen
from trainingjob_operator.engine.resources import CONFIG_MAPS, ChildKind, Made, Resource, Watched
from trainingjob_operator.engine.settings import EngineSettings
from trainingjob_operator.engine.values import Manifest

GREETINGS = Resource("toys.trainingjob.dev/v1", "Greeting", "greetings")
LABEL = "toys.trainingjob.dev/greeting"
TABLE = (ChildKind(CONFIG_MAPS, Made.APPLY, Watched.STATE, "What a greeting says.", read=lambda manifest: manifest.get("data")),)


def wanted(greeting: Manifest) -> Manifest:
    about = greeting["metadata"]
    owner = {"apiVersion": GREETINGS.api_version, "kind": GREETINGS.kind, "name": about["name"], "uid": about["uid"], "controller": True}
    metadata = {"name": about["name"], "namespace": about["namespace"], "labels": {LABEL: about["name"]}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": greeting["spec"]["text"]}}


def plan(seen: Seen, _: datetime) -> Plan:
    child = wanted(seen.resource)
    is_said = seen.children.get(("ConfigMap", child["metadata"]["name"])) == child["data"]
    return Plan(status={"said": is_said}, create=() if is_said else (child,))


def make(tools: Tools[EngineSettings]) -> PlainController:
    return PlainController(tools, GREETINGS, TABLE, plan, LABEL)
