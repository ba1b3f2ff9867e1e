"""The ground that all tests of this ring stand on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration import programs
from integration.api_server import ApiServer
from integration.installation import conditions
from integration.processes import Server, free_port
from integration.rest import Rest
from local_job import Process, until


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_the_definition_is_accepted_whole(definition: dict[str, Any]):
    assert conditions(definition) == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_an_api_server_that_is_started_again_has_its_address_its_users_and_all_that_was_stored(
    api_server: ApiServer, rest: Rest, namespace: str, number: signal.Signals
):
    before = rest("POST", maps(namespace), config_map("kept")).body
    token = api_server.token(f"system:serviceaccount:{namespace}:default")

    api_server.stop(number)
    with pytest.raises(ConnectionRefusedError):
        rest("GET", "/readyz")
    api_server.start()

    assert rest("GET", f"{maps(namespace)}/kept").body == before
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    assert rest("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).body["status"]["authenticated"]


async def test_an_api_server_that_an_async_test_started_outlives_the_tests_threads(api_server: ApiServer, rest: Rest):
    await asyncio.to_thread(api_server.restart)
    await asyncio.get_running_loop().shutdown_default_executor()

    assert rest("GET", "/readyz").code == 200


def test_a_user_without_a_role_may_do_nothing(api_server: ApiServer, namespace: str):
    for user in ("operator", "alice", "bob", f"system:serviceaccount:{namespace}:default"):
        answer = api_server.rest(user)("GET", maps(namespace))

        assert answer.code == 403
        assert f'User "{user}" cannot list resource "configmaps"' in answer.message


def test_a_role_binds_a_user_and_a_service_account(api_server: ApiServer, rest: Rest, namespace: str):
    account = f"system:serviceaccount:{namespace}:default"
    group, base = "rbac.authorization.k8s.io", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rest(
        "POST", f"{base}/roles", {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]}
    )
    subjects = [{"apiGroup": group, "kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "name": "default", "namespace": namespace}]
    body = {"metadata": {"name": "b"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"}, "subjects": subjects}
    assert rest("POST", f"{base}/rolebindings", body).ok

    assert api_server.rest("alice")("GET", maps(namespace)).ok
    assert api_server.rest(account)("GET", maps(namespace)).ok
    assert api_server.rest("bob")("GET", maps(namespace)).code == 403


def test_a_pod_is_refused_where_its_service_account_is_missing(rest: Rest, namespace: str):
    def pod(**fields: Any) -> dict[str, Any]:
        return {"metadata": {"generateName": "pod-"}, "spec": {"containers": [{"name": "a", "image": "b"}], **fields}}

    pods = f"/api/v1/namespaces/{namespace}/pods"

    assert rest("POST", pods, pod()).body["spec"]["serviceAccountName"] == "default"
    assert 'serviceaccount "other" not found' in rest("POST", pods, pod(serviceAccountName="other")).message


def test_the_audit_log_has_every_request_since_a_mark_with_its_user_and_its_answer(api_server: ApiServer, rest: Rest, namespace: str):
    rest("POST", maps(namespace), config_map("before"))
    mark = api_server.mark()
    rest("POST", maps(namespace), config_map("one"))
    rest("POST", maps(namespace), config_map("one"))
    api_server.rest("alice")("DELETE", f"{maps(namespace)}/one")
    rest("GET", f"/api/v1/namespaces/{namespace}/pods/none/log")

    found = [(event.user, event.verb, event.resource, event.namespace, event.name, event.code) for event in api_server.audit(mark)]

    assert found == [
        ("admin", "create", "configmaps", namespace, "one", 201),
        ("admin", "create", "configmaps", namespace, "one", 409),
        ("alice", "delete", "configmaps", namespace, "one", 403),
        ("admin", "get", "pods/log", namespace, "none", 404),
    ]


def test_kubectl_is_the_user_that_it_is_told_to_be(kubectl: Any, namespace: str):
    mine = kubectl("auth", "whoami", "-o", "json")
    theirs = kubectl("get", "configmaps", "-n", namespace, user="bob")

    assert json.loads(mine.stdout)["status"]["userInfo"]["username"] == "admin"
    assert theirs.code == 1
    assert 'User "bob" cannot list resource "configmaps"' in theirs.stderr


def test_it_is_the_version_that_the_test_cluster_pins(rest: Rest):
    modules = (Path(__file__).parents[1] / "cluster" / "go" / "kubernetes" / "go.mod").read_text()

    assert f"k8s.io/kubernetes {rest('GET', '/version').body['gitVersion']}\n" in modules, "make cluster-tools"


def test_a_server_dies_with_pytest_however_that_dies(tmp_path: Path):
    program = f"""if True:
        from integration.processes import Server
        from pathlib import Path
        import os, signal
        server = Server(["/bin/sh", "-c", "echo $$; exec sleep 600"], Path({str(tmp_path / "out")!r}), {{}})
        while not server.tail():
            server.lives()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environ = {"PYTHONPATH": str(Path(__file__).parents[1])}

    assert subprocess.run([sys.executable, "-c", program], env=environ, timeout=30, check=False).returncode == -signal.SIGKILL

    until("the server is gone", lambda: Process.of(int((tmp_path / "out").read_text())) is None)


def test_a_port_is_not_one_that_the_kernel_gives_to_others():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(free_port() < first for _ in range(5))


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path):
    server = Server(["/bin/sh", "-c", "echo no such flag; exit 3"], tmp_path / "out", {})
    until("it has ended", lambda: Process.of(server.pid) is None)

    with pytest.raises(AssertionError, match="sh ended with 3:\nno such flag"):
        server.lives()


@pytest.mark.parametrize(
    ("setting", "told"),
    [("TRAININGJOB_CACHE", "kube-apiserver is missing: `make cluster-tools`"), ("PATH", "etcd is missing: `apt-get install etcd-server`")],
    ids=["kube-apiserver", "etcd"],
)
def test_a_missing_program_is_named_with_what_is_left_out_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, told: str
):
    monkeypatch.setenv(setting, str(tmp_path))

    with pytest.raises(programs.Missing, match=f"the tests on a real kube-apiserver and etcd are left out, since {told} gets it"):
        programs.find()
