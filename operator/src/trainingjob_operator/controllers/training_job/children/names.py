"""The names of a job's children, and the labels they are found by. Pure.

Every name carries a hash of the job's uid: a new job of an old name never meets the old one's children, which the garbage
collector may leave for minutes.
"""

from __future__ import annotations

import hashlib

from trainingjob_operator.controllers.training_job.state import Role

GROUP = "batch.trainingjob.dev"
JOB_LABEL = f"{GROUP}/job"
ROLE_LABEL = f"{GROUP}/role"
WORKER_INDEX_LABEL = f"{GROUP}/worker-index"
INCARNATION_LABEL = f"{GROUP}/incarnation"
EPOCH_LABEL = f"{GROUP}/epoch"
KEY_LABEL = f"{GROUP}/key-id"

_JOB_LENGTH = 39
"""Of the job's name in a child's: with hash, "-worker-", a four-digit index and a five-digit incarnation, 63 characters."""


def base(job_name: str, job_uid: str) -> str:
    """The common start of all of the job's children's names; also the name of its Service and NetworkPolicy."""
    digest = hashlib.sha256(job_uid.encode()).hexdigest()[:5]
    shortened = job_name.replace(".", "-")[:_JOB_LENGTH].rstrip("-")
    return f"{shortened}-{digest}"


def secret(job_name: str, job_uid: str, key_id: str) -> str:
    """The Secret with what is derived from the operator's key `key_id`. The key is in the hash: one is never taken for that of another."""
    return base(job_name, f"{job_uid}/{key_id}")


def worker(job_name: str, job_uid: str, index: int, incarnation: int) -> str:
    """The pod of worker `index` in its `incarnation`."""
    return f"{base(job_name, job_uid)}-worker-{index}-{incarnation}"


def rendezvous(job_name: str, job_uid: str, epoch: int) -> str:
    """The pod of the rendezvous in its `epoch`."""
    return f"{base(job_name, job_uid)}-rendezvous-{epoch}"


def label_value(name: str) -> str:
    """The job's name as a label: at most 63 characters, ending in a letter or digit."""
    return name[:63].rstrip("-._")


def labels(job_name: str, job_uid: str, role: Role | None = None) -> dict[str, str]:
    """The labels of a child; with `role` those of a pod of that role, apart from its own numbers.

    The instance carries the hash of the uid, so a selector by it never takes in an earlier job's pods.
    """
    found = {
        "app.kubernetes.io/name": "trainingjob",
        "app.kubernetes.io/instance": base(job_name, job_uid),
        "app.kubernetes.io/managed-by": "trainingjob-operator",
        JOB_LABEL: label_value(job_name),
    }
    return found if role is None else found | {"app.kubernetes.io/component": role.value, ROLE_LABEL: role.value}
