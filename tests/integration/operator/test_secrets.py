"""What the operator writes shows no secret: no object but the job's Secret, no event, no line of its log, no metric."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from integration.api_server import ApiServer
from integration.operator.builders import job
from integration.operator.program import NAMESPACE, Operator
from integration.operator.team import Team
from local_job import until
from trainingjob_operator.engine.cluster.key import NAME

KINDS = {
    "/api/v1": ("pods", "services", "events", "configmaps"),
    "/apis/apps/v1": ("controllerrevisions",),
    "/apis/networking.k8s.io/v1": ("networkpolicies",),
    "/apis/batch.trainingjob.dev/v1alpha1": ("trainingjobs",),
}
MARK = "a-marked-secret-of-the-user"


def objects(team: Team) -> Iterator[tuple[str, str]]:
    """Everything in the namespace but Secrets, with its managed fields."""
    for group, plurals in KINDS.items():
        for plural in plurals:
            for item in team.rest("GET", f"{group}/namespaces/{team.namespace}/{plural}").body["items"]:
                yield f"{plural}/{item['metadata']['name']}", json.dumps(item)


def secrets_of(team: Team, root: str) -> dict[str, str]:
    """All that must not be seen, by name."""
    items = team.rest("GET", f"/api/v1/namespaces/{team.namespace}/secrets").body["items"]
    (made,) = (item["data"] for item in items if item["metadata"].get("ownerReferences"))
    tokens = {key: base64.b64decode(made[key]).decode() for key in ("worker-token", "operator-token")}
    pem = base64.b64decode(made["private-key"]).decode()
    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    plain = {"root key": base64.b64decode(root).hex(), "private key": body, "the user's": MARK} | tokens
    return plain | {f"{name} in base64": base64.b64encode(text.encode()).decode() for name, text in plain.items()} | {"root": root}


def test_a_jobs_whole_life_shows_no_secret(operator: Operator, team: Team, api_server: ApiServer) -> None:
    mark = api_server.mark()
    root = team.rest("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}").body["data"]["key"]
    theirs = {"metadata": {"name": "s3-credentials"}, "stringData": {"AWS_SECRET_ACCESS_KEY": MARK}}
    assert team.rest("POST", f"/api/v1/namespaces/{team.namespace}/secrets", theirs).ok
    manifest = job(template={"envFrom": [{"secretRef": {"name": "s3-credentials"}}]})
    manifest["spec"]["checkpoint"]["storage"]["credentialsSecretName"] = "s3-credentials"
    team.jobs.made(manifest)
    until("its pods", team.seen)
    secrets = secrets_of(team, root)
    team.kubelet.run_all()
    team.kubelet.say(team.name("worker-0-0"), "Failed", exit_code=1, words='{"code": 1, "message": "out of luck"}')
    until("a replacement", lambda: team.is_at([1, 0]))
    team.spec(suspend=True)
    for name in team.kubelet.pods():
        team.kubelet.say(name, "Succeeded")
    until("it is suspended", lambda: team.holds("Suspended"))
    team.spec(suspend=False)
    until("it goes on", lambda: "rendezvous-2" in team.living())
    until("its story is told", lambda: {"WorkerLost", "Suspended", "Resumed"} <= set(team.reasons()))

    shown = [*objects(team), ("log", operator.log()), ("metrics", operator.metrics())]
    shown += [("audit", str(event)) for event in api_server.audit(mark)]
    kinds = {place.partition("/")[0] for place, _ in shown}
    assert {"pods", "services", "events", "controllerrevisions", "networkpolicies", "trainingjobs", "log", "audit"} <= kinds
    assert [f"{name} in {place}" for place, text in shown for name, secret in secrets.items() if secret in text] == []
    workers = [text for place, text in shown if place.startswith("pods/") and "-worker-" in place]
    assert workers
    assert all("s3-credentials" in text for text in workers), "named, and not quoted"
