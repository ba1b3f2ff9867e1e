"""The operator's identity under its admission policies, and what it makes for a job."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from integration.api_server import ApiServer
from integration.chart.release import Release
from integration.installation import make_namespace
from integration.rest import APPLY, Answer, Rest
from local_job import until
from trainingjob_api.resource import API_VERSION, KIND, TrainingJob
from trainingjob_operator.controllers.training_job.child_kinds import CHILDREN
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.plan import preview
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.engine.values import Manifest

SETTINGS = Settings()
STRANGER = {"name": "stranger"}
OWNED = {"ownerReferences": [{"apiVersion": API_VERSION, "kind": KIND, "name": "digits", "uid": "0", "controller": True}]}
BARE = {"containers": [{"name": "a", "image": "b"}]}


def when_guarded(api_server: ApiServer, installed: Release) -> Rest:
    """The protocol as the operator, once its policies are in force."""
    namespace, operator = make_namespace(api_server.rest(), f"guarded-{installed.name}"), api_server.rest(installed.account)
    for kind, manifest in (
        ("ControllerRevision", {"metadata": STRANGER, "revision": 1, "data": {}}),
        ("Secret", {"metadata": OWNED | {"name": "digits-0a1b2"}}),
        ("Pod", {"metadata": OWNED | STRANGER, "spec": BARE}),
    ):
        path = CHILDREN[kind].path(namespace)
        refused = partial(operator, "POST", path, manifest, dryRun="All")
        until(f"the policy for {kind} is in force", lambda refused=refused: "denied request" in refused().message)
    return operator


def children_of(found: TrainingJob) -> dict[str, Manifest]:
    """What the operator makes for a job, by kind; its two pods apart."""
    made = preview(found, SETTINGS, datetime.now(UTC))
    pods = {each["metadata"]["labels"][names.ROLE_LABEL]: each for each in made if each["kind"] == "Pod"}
    return {each["kind"]: each for each in made if each["kind"] != "Pod"} | {"Pod": pods["worker"], "rendezvous": pods["rendezvous"]}


def make(operator: Rest, manifest: Manifest, **changed: str) -> Answer:
    """As the operator makes it, for trial."""
    metadata, resource = manifest["metadata"], CHILDREN[manifest["kind"]]
    namespace = changed.get("namespace", metadata["namespace"])
    body = manifest | {"metadata": metadata | changed}
    if resource.kind in ("Service", "NetworkPolicy"):
        return operator("PATCH", resource.path(namespace, metadata["name"]), body, APPLY, fieldManager="a", force="true", dryRun="All")
    return operator("POST", resource.path(namespace), body, dryRun="All")
