"""The operator's identity under its admission policies, and what it makes for a job."""

from __future__ import annotations

from functools import partial

from integration.api_server import ApiServer
from integration.chart.release import Release
from integration.installation import make_namespace
from integration.rest import APPLY, Answer, Rest
from local_job import until
from trainingjob_api.contract.intent import Intent
from trainingjob_api.resource import API_VERSION, KIND, TrainingJob
from trainingjob_operator.children.network_policy import network_policy
from trainingjob_operator.children.pinned import pin
from trainingjob_operator.children.rendezvous import rendezvous
from trainingjob_operator.children.revision import revision
from trainingjob_operator.children.secret import secret
from trainingjob_operator.children.service import service
from trainingjob_operator.children.worker import worker
from trainingjob_operator.cluster.resources import CHILDREN
from trainingjob_operator.identity import derive
from trainingjob_operator.settings import Settings
from trainingjob_operator.state import Manifest

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
    identity, pinned = derive(b"k" * 32, found.metadata.uid), pin(found, SETTINGS)
    made = [
        revision(found, pinned),
        secret(found, identity),
        network_policy(found, SETTINGS),
        service(found, 1, SETTINGS),
        worker(found, 0, 0, "somewhere:29400", pinned, SETTINGS, identity),
    ]
    intent = Intent.model_validate({"epoch": 1, "attempt": 1, "workers": [{"worker": 0, "incarnation": 0}]})
    return {each["kind"]: each for each in made} | {"rendezvous": rendezvous(found, intent, identity.certificate_pem, SETTINGS)}


def make(operator: Rest, manifest: Manifest, **changed: str) -> Answer:
    """As the operator makes it, for trial."""
    metadata, resource = manifest["metadata"], CHILDREN[manifest["kind"]]
    namespace = changed.get("namespace", metadata["namespace"])
    body = manifest | {"metadata": metadata | changed}
    if resource.kind in ("Service", "NetworkPolicy"):
        return operator("PATCH", resource.path(namespace, metadata["name"]), body, APPLY, fieldManager="a", force="true", dryRun="All")
    return operator("POST", resource.path(namespace), body, dryRun="All")
