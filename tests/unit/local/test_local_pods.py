import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from trainingjob_operator.controllers.training_job.state import Pod, PodPhase
from trainingjob_operator.local.folder import JobFolder
from trainingjob_operator.local.objects import LocalObjects
from trainingjob_operator.local.pods import LocalPods
from trainingjob_operator.local.processes import in_session, marked, start_time
from trainingjob_operator.local.records import Records
from unit.local.manifests import KEY, make_jobs, make_pod, until

FOREVER = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return make_jobs(tmp_path).folder(KEY)


@pytest.fixture
async def make_pods(folder: JobFolder) -> AsyncIterator[Callable[[], LocalPods]]:
    made: list[LocalPods] = []

    def make(environ: dict[str, str] | None = None) -> LocalPods:
        made.append(LocalPods(folder, {**os.environ, **(environ or {})}, folder.root, lambda: None))
        return made[-1]

    yield make
    for record in Records(folder).all():
        made[-1].delete(record.name, 0)
    await until(lambda: not made[-1].observe())
    for pods in made:
        pods.close()


def only(pods: LocalPods) -> Pod:
    (pod,) = pods.observe()
    return pod


def pid_of(folder: JobFolder, name: str = "a") -> int:
    record = Records(folder).find(name)
    assert record is not None
    assert record.pid is not None
    return record.pid


async def ready(folder: JobFolder, name: str = "a") -> None:
    await until(lambda: "ready" in Records(folder).log(name).read_text())


async def test_a_pod_is_a_process_of_its_own_session(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    pods = make_pods()
    pods.create(make_pod("a", FOREVER, index=1))
    await ready(folder)
    assert only(pods) == Pod("a", only(pods).role, PodPhase.RUNNING, index=1, incarnation=2)
    assert in_session(pid_of(folder)) == [pid_of(folder)]


@pytest.mark.parametrize(
    ("script", "code", "phase"),
    [
        ("pass", 0, PodPhase.SUCCEEDED),
        ("raise SystemExit(66)", 66, PodPhase.FAILED),
        ("import os; os.kill(os.getpid(), 9)", 137, PodPhase.FAILED),
    ],
    ids=["done", "code", "signal"],
)
async def test_the_end_of_a_pod_wakes_and_is_told_as_kubernetes_would(folder: JobFolder, script: str, code: int, phase: PodPhase) -> None:
    woken = asyncio.Event()
    pods = LocalPods(folder, os.environ, folder.root, woken.set)
    pods.create(make_pod("a", script))
    await asyncio.wait_for(woken.wait(), 20)
    pod = only(pods)
    assert (pod.phase, pod.exit_code) == (phase, code)
    pods.close()


async def test_a_pod_that_ends_takes_all_its_processes_with_it(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    pods = make_pods()
    script = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', '''{FOREVER}'''])\nprint('started', flush=True)\n{FOREVER}"
    pods.create(make_pod("a", script))
    uid = Records(folder).all()[0].uid
    await until(lambda: len(marked(uid)) == 2 and Records(folder).log("a").read_text().count("ready") == 2)
    os.kill(pid_of(folder), signal.SIGKILL)
    await until(lambda: only(pods).over() and not marked(uid))


async def test_deletion_is_sigterm_then_the_grace_then_sigkill(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    pods = make_pods()
    pods.create(make_pod("a", STUBBORN, terminationGracePeriodSeconds=1))
    pods.create(make_pod("b", FOREVER, terminationGracePeriodSeconds=3600))
    await ready(folder, "a")
    await ready(folder, "b")
    stubborn = pid_of(folder, "a")
    pods.delete("a", None)
    pods.delete("b", None)
    await until(lambda: [pod.name for pod in pods.observe()] == ["a"])  # b obeyed SIGTERM; a did not
    assert only(pods).deleting
    assert only(pods).phase is PodPhase.RUNNING
    await until(lambda: not pods.observe())
    assert start_time(stubborn) is None


async def test_a_second_backend_adopts_what_runs_and_starts_nothing_twice(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    first = make_pods()
    first.create(make_pod("a", FOREVER))
    await ready(folder)
    pid, began = pid_of(folder), start_time(pid_of(folder))
    first.close()
    second = make_pods()
    assert only(second).phase is PodPhase.RUNNING
    second.create(make_pod("a", FOREVER))
    assert marked(Records(folder).all()[0].uid) == [pid]
    assert start_time(pid) == began


async def test_a_start_that_was_not_written_down_is_found(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    first = make_pods()
    first.create(make_pod("a", FOREVER))
    await ready(folder)
    pid = pid_of(folder)
    first.close()
    records = Records(folder)
    records.write(records.all()[0].model_copy(update={"pid": None, "began": None}))
    assert only(make_pods()).phase is PodPhase.RUNNING
    assert pid_of(folder) == pid


async def test_a_pod_that_was_written_down_and_never_started_is_started(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    first = make_pods()
    first.create(make_pod("a", FOREVER))
    records = Records(folder)
    first.delete("a", 0)
    written = {"pid": None, "began": None, "deleted_at": None, "uid": "never-started", "created": 0.0}
    await until(lambda: not first.observe())
    first.create(make_pod("a", FOREVER))
    record = records.all()[0]
    first.delete("a", 0)
    await until(lambda: not first.observe())
    records.write(record.model_copy(update=written))
    pods = make_pods()
    assert only(pods).phase is PodPhase.RUNNING


async def test_a_reused_pid_is_not_our_pod_and_is_left_alone(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True)
    pods = make_pods()
    pods.create(make_pod("a", "pass"))
    await until(lambda: only(pods).over())
    records = Records(folder)
    began = start_time(stranger.pid)
    assert began is not None
    records.write(records.all()[0].model_copy(update={"over": False, "exit_code": None, "pid": stranger.pid, "began": began - 1}))
    pod = only(make_pods())
    assert (pod.phase, pod.exit_code, pod.reason) == (PodPhase.FAILED, 137, "ContainerStatusUnknown")
    assert start_time(stranger.pid) == began
    stranger.kill()
    stranger.wait()


async def test_the_end_of_an_adopted_pod_is_read_from_its_last_words(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    words = json.dumps({"code": 64, "message": "spec.training: no such class", "step": 7})
    script = f"import os, sys\nprint('ready', flush=True)\nsys.stdin.read()\nwhile not os.path.exists('{folder.path}/go'): pass\n"
    script += f"open(os.environ['TRAININGJOB_TERMINATION_LOG'], 'w').write('''{words}''')\nraise SystemExit(64)"
    first = make_pods()
    first.create(make_pod("a", script))
    await ready(folder)
    first.close()
    second = make_pods()
    assert only(second).phase is PodPhase.RUNNING
    (folder.path / "go").touch()
    await until(lambda: only(second).over())
    pod = only(second)
    assert pod.exit_code == 64
    assert pod.termination is not None
    assert pod.termination.step == 7


async def test_a_pod_that_restarts_always_gets_a_new_process(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    pods = make_pods()
    pods.create(make_pod("a", FOREVER, role="rendezvous", restartPolicy="Always"))
    await ready(folder)
    before = pid_of(folder)
    os.kill(before, signal.SIGKILL)
    await until(lambda: only(pods).phase is PodPhase.RUNNING and Records(folder).all()[0].pid not in (None, before))
    assert only(pods).incarnation == 3


async def test_a_new_rendezvous_takes_the_port_of_the_old_one(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    LocalObjects(folder).create({"kind": "Service", "metadata": {"name": "s"}, "spec": {}})
    listen = "import os, socket, time\ns = socket.create_server((os.environ['TRAININGJOB_BIND'], int(os.environ['TRAININGJOB_PORT'])))\n"
    pods = make_pods()
    pods.create(make_pod("old", listen + STUBBORN, role="rendezvous"))
    await ready(folder, "old")
    pods.delete("old", 3600)
    pods.create(make_pod("new", listen + FOREVER, role="rendezvous"))
    await ready(folder, "new")
    await until(lambda: only(pods).name == "new")


async def test_secrets_reach_the_process_and_nothing_else(make_pods: Callable[[], LocalPods], folder: JobFolder) -> None:
    LocalObjects(folder).create({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "very-secret"}})
    variable = {"name": "TRAININGJOB_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}
    pods = make_pods()
    pods.create(make_pod("a", "import os; print(len(os.environ['TRAININGJOB_TOKEN']), 'ready')", env=[variable]))
    await ready(folder)
    assert Records(folder).log("a").read_text() == "11 ready\n"
    holders = [path for path in folder.path.rglob("*") if path.is_file() and "very-secret" in path.read_text()]
    assert [path.name for path in holders] == ["Secret-s.json"]
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600


async def test_a_variable_that_cannot_be_resolved_is_named_in_the_pod(make_pods: Callable[[], LocalPods]) -> None:
    variable = {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
    pods = make_pods()
    pods.create(make_pod("a", "pass", env=[variable]))
    pod = only(pods)
    assert (pod.phase, pod.reason) == (PodPhase.PENDING, "CreateContainerConfigError")
    assert "export API_KEY" in pod.message


async def test_a_command_that_does_not_exist_is_a_failed_pod(make_pods: Callable[[], LocalPods]) -> None:
    manifest = make_pod("a", "")
    manifest["spec"]["containers"][0]["command"] = ["no-such-program"]
    pods = make_pods()
    pods.create(manifest)
    pod = only(pods)
    assert (pod.phase, pod.exit_code, pod.reason) == (PodPhase.FAILED, 128, "StartError")
    assert "no-such-program" in pod.message


async def test_a_pod_that_ends_before_it_can_be_watched_wakes_too(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    woken = asyncio.Event()
    pods = LocalPods(folder, os.environ, folder.root, woken.set)
    spawn = pods._spawn

    def spawn_and_wait(*arguments: Any) -> "subprocess.Popen[bytes]":
        child = spawn(*arguments)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie by the time it is looked at
        return child

    monkeypatch.setattr(pods, "_spawn", spawn_and_wait)
    pods.create(make_pod("a", "raise SystemExit(3)"))
    await asyncio.wait_for(woken.wait(), 20)
    assert only(pods).exit_code == 3
    pods.close()
