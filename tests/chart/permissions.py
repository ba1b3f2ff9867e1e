"""Who may do what: the whole table, so that every further permission is a change that somebody reads."""

from __future__ import annotations

from typing import Any

Table = set[tuple[str, str, str, tuple[str, ...]]]
OPERATOR: Table = {
    ("batch.trainingjob.dev", "trainingjobs", "", ("delete", "get", "list", "watch")),
    ("batch.trainingjob.dev", "trainingjobs/status", "", ("patch",)),
    ("batch.trainingjob.dev", "trainingjobs/finalizers", "", ("update",)),
    ("", "pods", "", ("create", "delete", "list", "watch")),
    ("", "services", "", ("create", "list", "patch", "watch")),
    ("networking.k8s.io", "networkpolicies", "", ("create", "list", "patch", "watch")),
    ("apps", "controllerrevisions", "", ("create", "list", "watch")),
    ("", "secrets", "", ("create",)),
    ("", "nodes", "", ("list", "watch")),
    ("", "events", "", ("create", "patch")),
}
NODES: Table = {("", "nodes", "", ("list", "watch"))}


def own_namespace(name: str) -> Table:
    """What the operator of the release whose objects have this name may do in its own namespace."""
    return {
        ("", "secrets", "", ("create",)),
        ("", "secrets", "trainingjob-operator-key", ("get",)),
        ("coordination.k8s.io", "leases", "", ("create",)),
        ("coordination.k8s.io", "leases", name, ("list", "update", "watch")),
    }


VIEW: Table = {
    ("batch.trainingjob.dev", "trainingjobs", "", ("get", "list", "watch")),
    ("batch.trainingjob.dev", "trainingjobs/status", "", ("get",)),
    ("batch.trainingjob.dev", "trainingjobs/scale", "", ("get",)),
}
EDIT: Table = {
    ("batch.trainingjob.dev", "trainingjobs", "", ("create", "delete", "deletecollection", "patch", "update")),
    ("batch.trainingjob.dev", "trainingjobs/scale", "", ("patch", "update")),
}


Right = tuple[str, str, str]
"""Group, resource, verb."""
NEVER_ASKED: dict[Right, str] = {
    ("batch.trainingjob.dev", "trainingjobs/finalizers", "update"): "the admission plugin OwnerReferencesPermissionEnforcement asks for it",
    ("", "services", "create"): "a server-side apply of something new is a PATCH, for which both verbs are asked",
    ("networking.k8s.io", "networkpolicies", "create"): "a server-side apply of something new is a PATCH, for which both verbs are asked",
}
"""No request of the operator's own shows these in an audit log; why it has them all the same."""
SELDOM: dict[Right, str] = {
    ("batch.trainingjob.dev", "trainingjobs", "get"): "a job is read again after a conflict",
    ("batch.trainingjob.dev", "trainingjobs", "delete"): "only of jobs with ttlSecondsAfterFinished",
    ("", "events", "patch"): "what happens again is counted in the event that there is",
    ("", "pods", "delete"): "a replaced worker, or one of a job that ends",
    ("coordination.k8s.io", "leases", "update"): "the holder renews the lease now and then",
    ("coordination.k8s.io", "leases", "watch"): "a standby waits for the lease",
}
"""Requests that a run of the operator may do without."""


def rights(granted: Table) -> set[Right]:
    """A table, verb by verb."""
    return {(group, resource, verb) for group, resource, _, verbs in granted for verb in verbs}


def table(rules: list[dict[str, Any]]) -> Table:
    """Rules of a role: group, resource, name, verbs."""
    return {
        (group, resource, name, tuple(sorted(rule["verbs"])))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


def unexplained(granted: Table, used: set[Right]) -> set[Right]:
    """What has been granted and was neither used nor has a reason; and reasons that do not hold, since it was used."""
    return (rights(granted) - used - SELDOM.keys() - NEVER_ASKED.keys()) | (used & NEVER_ASKED.keys())
