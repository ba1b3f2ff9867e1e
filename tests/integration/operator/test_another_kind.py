"""Another kind of resource is a folder: the engine reconciles one of thirty lines, and knows nothing of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.installation import DEFINITIONS
from integration.operator.greeter import live
from integration.operator.greetings import GREETINGS
from integration.operator.program import END_SECONDS, FORKS, NAMESPACE
from integration.rest import MERGE, Rest
from integration.waiting import until
from local_job import until as wait_until
from trainingjob_operator.engine.resources import CONFIG_MAPS

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition() -> dict[str, Any]:
    schema = {"openAPIV3Schema": OPEN}
    version = {"name": GREETINGS.version, "served": True, "storage": True, "subresources": {"status": {}}, "schema": schema}
    names = {"kind": GREETINGS.kind, "plural": GREETINGS.plural}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{GREETINGS.plural}.{GREETINGS.group}"},
        "spec": {"group": GREETINGS.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


class Desk:
    """The greetings of one namespace."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest = rest
        self._namespace = namespace

    def greet(self, name: str, text: str) -> None:
        body = {"apiVersion": GREETINGS.api_version, "kind": GREETINGS.kind, "metadata": {"name": name}, "spec": {"text": text}}
        assert self._rest("POST", GREETINGS.path(self._namespace), body).ok

    def change(self, name: str, text: str) -> None:
        assert self._rest("PATCH", GREETINGS.path(self._namespace, name), {"spec": {"text": text}}, MERGE).ok

    def says(self, name: str) -> str:
        """What the ConfigMap says; "" if there is none."""
        return str(self._rest("GET", CONFIG_MAPS.path(self._namespace, name)).body.get("data", {}).get("text", ""))

    def is_said(self, name: str, text: str) -> bool:
        status = self._rest("GET", GREETINGS.path(self._namespace, name)).body.get("status", {})
        return status.get("said") is True and self.says(name) == text

    def drop_child(self, name: str) -> None:
        assert self._rest("DELETE", CONFIG_MAPS.path(self._namespace, name)).ok

    def drop(self, name: str) -> None:
        assert self._rest("DELETE", GREETINGS.path(self._namespace, name)).ok


@pytest.fixture
def desk(rest: Rest, namespace: str) -> Desk:
    rest("POST", DEFINITIONS, definition())
    wait_until("greetings are served", lambda: rest("GET", GREETINGS.path()).ok and rest("GET", GREETINGS.path(namespace)).ok)
    return Desk(rest, namespace)


@contextmanager
def operating(api_server: ApiServer) -> Iterator[None]:
    """Such an operator, in a process of its own. It keeps nothing between its lives."""
    environ = {
        "KUBECONFIG": str(api_server.kubeconfig()),
        "POD_NAMESPACE": NAMESPACE,
        "TRAININGJOB_OPERATOR_LEASE": f"lease-{secrets.token_hex(3)}",
        "TRAININGJOB_OPERATOR_ADDRESS": "127.0.0.1",
        "TRAININGJOB_OPERATOR_PORT": "0",
    }
    process = FORKS.Process(target=live, args=(environ,))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(END_SECONDS)
    assert process.exitcode == 0


async def test_a_greeting_is_reconciled_through_restarts(api_server: ApiServer, system_namespace: str, desk: Desk) -> None:
    with operating(api_server):
        desk.greet("a", "hello")
        await until("it is said", lambda: desk.is_said("a", "hello"))
        desk.drop_child("a")
        await until("it is said again", lambda: desk.is_said("a", "hello"))
    desk.change("a", "goodbye")
    with operating(api_server):
        await until("a restarted operator says what changed meanwhile", lambda: desk.is_said("a", "goodbye"))


async def test_nothing_is_made_for_a_greeting_that_is_gone(api_server: ApiServer, system_namespace: str, desk: Desk) -> None:
    with operating(api_server):
        desk.greet("a", "hello")
        await until("it is said", lambda: desk.is_said("a", "hello"))
        desk.drop("a")
        desk.greet("b", "the deletion is known")
        await until("the next one is said", lambda: desk.is_said("b", "the deletion is known"))
        desk.drop_child("a")
        desk.greet("c", "what came before is done")
        await until("the one after is said", lambda: desk.is_said("c", "what came before is done"))
        assert desk.says("a") == ""
        desk.greet("a", "a new one")
        await until("a new one of the old name is said", lambda: desk.is_said("a", "a new one"))
