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
    ("events.k8s.io", "events", "", ("create", "patch")),
}


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
}
EDIT: Table = {("batch.trainingjob.dev", "trainingjobs", "", ("create", "delete", "deletecollection", "patch", "update"))}


def table(rules: list[dict[str, Any]]) -> Table:
    """Rules of a role: group, resource, name, verbs."""
    return {
        (group, resource, name, tuple(sorted(rule["verbs"])))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
