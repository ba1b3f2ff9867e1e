"""Where the API server keeps each kind of object that the operator has to do with. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainingjob_api.resource import API_VERSION, KIND, PLURAL
from trainingjob_operator.controllers.training_job.state import Manifest


@dataclass(frozen=True)
class Resource:
    """A kind of object."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of all in a namespace, or of all."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


TRAINING_JOBS = Resource(API_VERSION, KIND, PLURAL)
PODS = Resource("v1", "Pod", "pods")
SERVICES = Resource("v1", "Service", "services")
SECRETS = Resource("v1", "Secret", "secrets")
NODES = Resource("v1", "Node", "nodes")
EVENTS = Resource("v1", "Event", "events")
NETWORK_POLICIES = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
REVISIONS = Resource("apps/v1", "ControllerRevision", "controllerrevisions")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")

CHILDREN = {resource.kind: resource for resource in (PODS, SERVICES, SECRETS, NETWORK_POLICIES, REVISIONS)}
"""What a job owns, by kind."""


def owner(metadata: Manifest) -> tuple[str, str] | None:
    """Name and uid of the TrainingJob that controls the object with this metadata; None if none does."""
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") == KIND and reference.get("apiVersion", "").startswith(_GROUP):
            return reference["name"], reference["uid"]
    return None


_GROUP = API_VERSION.partition("/")[0] + "/"
