"""The job's Secret: the rendezvous' key and the tokens. Pure.

It is made by POST, is immutable, and the operator may not read it: it knows the content from its own key.
"""

from __future__ import annotations

from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.children.metadata import metadata
from trainingjob_operator.controllers.training_job.identity import Identity
from trainingjob_operator.engine.values import Manifest

CERTIFICATE = "certificate"
PRIVATE_KEY = "private-key"
WORKER_TOKEN = "worker-token"  # noqa: S105 - the name of a key in a Secret
OPERATOR_TOKEN = "operator-token"  # noqa: S105


def secret(job: TrainingJob, identity: Identity) -> Manifest:
    """The Secret with all of `identity`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(
            job, names.secret(job.metadata.name, job.metadata.uid, identity.key_id), labels={names.KEY_LABEL: identity.key_id}
        ),
        "type": "Opaque",
        "immutable": True,
        "stringData": {
            CERTIFICATE: identity.certificate_pem,
            PRIVATE_KEY: identity.private_key_pem,
            WORKER_TOKEN: identity.worker_token,
            OPERATOR_TOKEN: identity.operator_token,
        },
    }
