"""The operator's root key is replaced while jobs run: they keep the old one, new lives take the new one."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.api_server import ApiServer
from integration.operator.builders import JOB, job
from integration.operator.program import NAMESPACE, Operator
from integration.operator.team import Team
from integration.rest import Rest
from local_job import until
from trainingjob_operator.controllers.training_job.children import names
from trainingjob_operator.controllers.training_job.identity import Identity, derive, key_id
from trainingjob_operator.engine.cluster.key import NAME

PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}"


@pytest.fixture
def first_key(rest: Rest, operator: Operator) -> Iterator[bytes]:
    """The operator's own; afterwards the Secret is made anew, as other tests expect it."""
    yield base64.b64decode(rest("GET", PATH).body["data"]["key"])
    rest("DELETE", PATH)


def replace(rest: Rest, **changes: bytes | None) -> None:
    """Make the Secret anew, with other keys beside those that it holds; None takes one away. It cannot be changed."""
    secret = rest("GET", PATH).body
    assert secret["immutable"]
    for field, key in changes.items():
        name = field.replace("_", "-")
        secret["data"] |= {name: None if key is None else base64.b64encode(key).decode()}
    data = {name: value for name, value in secret["data"].items() if value is not None}
    assert rest("DELETE", PATH).ok
    answer = rest("POST", PATH.rpartition("/")[0], {"metadata": {"name": NAME}, "immutable": True, "data": data})
    assert answer.ok, answer.message


def secrets_of(team: Team, name: str = JOB) -> dict[str, dict[str, str]]:
    """The Secrets of a job, by name."""
    items = team.rest("GET", f"/api/v1/namespaces/{team.namespace}/secrets").body["items"]
    mine = (item for item in items if item["metadata"]["ownerReferences"][0]["name"] == name)
    return {item["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in item["data"].items()} for item in mine}


def named(pod: dict[str, Any]) -> set[str]:
    """The Secrets that a pod's variables come from."""
    sources = (variable.get("valueFrom", {}).get("secretKeyRef") for variable in pod["spec"]["containers"][0]["env"])
    return {source["name"] for source in sources if source}


def holds(content: dict[str, str], identity: Identity) -> bool:
    return content == {
        "certificate": identity.certificate_pem,
        "private-key": identity.private_key_pem,
        "worker-token": identity.worker_token,
        "operator-token": identity.operator_token,
    }


def test_a_key_is_added_and_the_old_one_taken_away_later(operator: Operator, first_key: bytes, team: Team, rest: Rest) -> None:
    uid = team.jobs.made(job())["metadata"]["uid"]
    until("its pods", team.seen)
    team.kubelet.run_all()
    (old,) = secrets_of(team)
    assert old == names.secret(JOB, uid, key_id(first_key))
    assert holds(secrets_of(team)[old], derive(first_key, uid))

    second_key = secrets.token_bytes(32)
    replace(rest, key_1=second_key)
    assert operator.stop() == 0
    operator.start()
    operator.ready()

    team.kubelet.remove(team.name("worker-0-0"))
    until("a replacement", lambda: "worker-0-1" in team.living())
    assert named(team.kubelet.pods()[team.name("worker-0-1")]) == {old}
    assert team.status()["keyId"] == key_id(first_key)

    other = team.jobs.made(job("another"))["metadata"]["uid"]
    until("the other job's pods", lambda: team.seen("another"))
    ((_, content),) = secrets_of(team, "another").items()
    assert holds(content, derive(second_key, other))

    team.spec(suspend=True)
    for name in team.kubelet.pods():
        if name.startswith(JOB):
            team.kubelet.say(name, "Succeeded")
    until("it is suspended", lambda: team.holds("Suspended"))
    team.spec(suspend=False)
    until("it goes on", lambda: team.status()["keyId"] == key_id(second_key) and "rendezvous-2" in team.living())
    until("its workers", lambda: {"worker-0-2", "worker-1-1"} <= team.living())
    new = next(name for name in secrets_of(team) if name != old)
    assert holds(secrets_of(team)[new], derive(second_key, uid))
    pods = team.kubelet.pods() | team.kubelet.pods("rendezvous")
    assert {source for short in ("rendezvous-2", "worker-0-2", "worker-1-1") for source in named(pods[team.name(short)])} == {new}

    replace(rest, key=None)
    assert operator.stop() == 0
    operator.start()
    operator.ready()
    assert "Traceback" not in operator.log()


def test_what_is_no_key_is_told(
    operator: Operator, first_key: bytes, rest: Rest, operators: Callable[..., Operator], api_server: ApiServer
) -> None:
    replace(rest, keys=secrets.token_bytes(32))
    other = operators(api_server.kubeconfig())
    other.start()
    until("it has ended", lambda: other.ended() is not None)
    assert other.ended() == 64
    assert f"Secret {NAMESPACE}/{NAME}: `keys` is no key; name keys key, key-1, key-2 and so on, or remove it" in other.log()
