import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.state import Observed, Plan, PodPhase, job_key
from trainingjob_operator.engine.values import Deletion, Event, EventType
from trainingjob_operator.local.backend import LocalCluster
from trainingjob_operator.local.folder import JobTakenError, in_charge, operator_key, pid_in_charge
from trainingjob_operator.local.jobs import LocalJobs, UnknownJobError
from trainingjob_operator.local.objects import LocalObjects
from trainingjob_operator.local.processes import marked, start_time
from trainingjob_operator.local.records import Records
from unit.local.manifests import KEY, make_job, make_jobs, make_pod, until

SERVICE = {"kind": "Service", "metadata": {"name": "s"}, "spec": {}}
FOREVER = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)"

# A backend in a process of its own: it acts on a plan of two pods, says so, and waits to be killed.
OPERATOR = """
import asyncio, sys
from pathlib import Path
from trainingjob_operator.local.backend import LocalCluster
from trainingjob_operator.local.folder import in_charge, operator_key
from trainingjob_operator.local.jobs import LocalJobs
from trainingjob_operator.controllers.training_job.state import Plan
from unit.local.manifests import KEY, make_pod

async def main():
    jobs = LocalJobs(Path(sys.argv[1]))
    with in_charge(jobs.folder(KEY)):
        cluster = LocalCluster(jobs, operator_key(jobs.root), {"PATH": "/usr/bin"}, lambda key: None)
        seen = await cluster.observe(KEY)
        pods = tuple(make_pod(name, sys.argv[2], index=index) for index, name in enumerate("ab"))
        await cluster.act(KEY, seen, Plan(status=seen.job.status, create=pods))
        print("acted", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def make_cluster(jobs: LocalJobs) -> LocalCluster:
    return LocalCluster(jobs, operator_key(jobs.root), os.environ, lambda key: None)


async def observe(cluster: LocalCluster) -> Observed:
    seen = await cluster.observe(KEY)
    assert seen is not None
    return seen


async def test_a_plan_is_carried_out_and_observed(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    told: list[Event] = []
    cluster = LocalCluster(jobs, b"key", os.environ, lambda key: None, lambda key, events: told.extend(events))
    seen = await observe(cluster)
    assert (seen.pods, seen.objects, seen.rendezvous_address) == ((), frozenset(), None)
    event = Event(EventType.NORMAL, "Created", "a pod")
    plan = Plan(status=Status(phase="Pending", attempt=1), create=(SERVICE, make_pod("a", FOREVER)), events=(event,))
    await cluster.act(KEY, seen, plan)
    seen = await observe(cluster)
    assert (seen.job.status.phase, seen.job.status.attempt) == ("Pending", 1)
    assert [(pod.name, pod.phase) for pod in seen.pods] == [("a", PodPhase.RUNNING)]
    assert seen.objects == {("Service", "s")}
    assert seen.rendezvous_address == f"127.0.0.1:{LocalObjects(jobs.folder(KEY)).port()}"
    assert told == [event]
    assert [line["message"] for line in jobs.events(KEY)] == ["a pod"]
    await cluster.act(KEY, seen, Plan(status=seen.job.status, delete=(Deletion("Pod", "a", 0), Deletion("Service", "s"))))
    await until(lambda: not cluster.pods(KEY).observe())
    assert (await observe(cluster)).objects == frozenset()
    await cluster.close()


async def test_what_a_killed_operator_started_is_adopted_and_nothing_is_doubled(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    operator = subprocess.Popen([sys.executable, "-c", OPERATOR, str(tmp_path), FOREVER], env=environ, stdout=subprocess.PIPE)
    assert operator.stdout is not None
    assert await asyncio.to_thread(operator.stdout.readline) == b"acted\n"
    with pytest.raises(JobTakenError, match=f"process {operator.pid}"), in_charge(jobs.folder(KEY)):
        pass
    assert pid_in_charge(jobs.folder(KEY)) == operator.pid
    operator.kill()
    operator.wait()
    operator.stdout.close()
    assert pid_in_charge(jobs.folder(KEY)) is None
    records = Records(jobs.folder(KEY)).all()
    before = {record.name: (record.pid, start_time(record.pid or 0)) for record in records}
    assert all(began for _, began in before.values())
    with in_charge(jobs.folder(KEY)):
        cluster = make_cluster(jobs)
        seen = await observe(cluster)
        assert [(pod.name, pod.phase) for pod in seen.pods] == [("a", PodPhase.RUNNING), ("b", PodPhase.RUNNING)]
        again = tuple(make_pod(name, FOREVER, index=index) for index, name in enumerate("ab"))
        await cluster.act(KEY, seen, Plan(status=seen.job.status, create=again))
        assert {record.name: marked(record.uid) for record in records} == {name: [pid] for name, (pid, _) in before.items()}
        os.kill(before["a"][0] or 0, signal.SIGKILL)
        await until(lambda: any(pod.phase is PodPhase.FAILED for pod in cluster.pods(KEY).observe()))
        await cluster.act(KEY, seen, Plan(status=seen.job.status, delete=(Deletion("Pod", "a", 0), Deletion("Pod", "b", 0))))
        await until(lambda: not cluster.pods(KEY).observe())
        assert not any(marked(record.uid) for record in records)
        await cluster.close()


def test_edits_of_several_processes_are_all_kept_and_counted(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    script = (
        "import sys; from pathlib import Path\n"
        "from trainingjob_operator.local.jobs import LocalJobs\n"
        "from trainingjob_operator.controllers.training_job.state import job_key\n"
        "jobs, name = LocalJobs(Path(sys.argv[1])), sys.argv[2]\n"
        "for i in range(20): jobs.edit(job_key('default', 'digits'), lambda s: {**s, name: s.get(name, 0) + 1})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    job = jobs.read(KEY)
    assert job is not None
    assert (job["spec"]["one"], job["spec"]["two"], job["metadata"]["generation"]) == (20, 20, 41)


def test_an_edit_that_changes_nothing_is_no_generation(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    assert not jobs.edit(KEY, lambda spec: spec)
    job = jobs.read(KEY)
    assert job is not None
    assert job["metadata"]["generation"] == 1


def test_an_unknown_job_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownJobError, match=r"no job other .*known jobs: digits"):
        make_jobs(tmp_path).edit(job_key("default", "other"), lambda spec: spec)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path)
    with pytest.raises(FileExistsError):
        jobs.create(make_job(), tmp_path)


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "state"
    assert operator_key(root) == operator_key(root)
    assert len(operator_key(root)) == 32
    assert stat.S_IMODE((root / "operator.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in root.iterdir()) == ["operator.key"]


def test_a_removed_job_leaves_only_its_uid(tmp_path: Path) -> None:
    root = tmp_path / "state"
    jobs = make_jobs(root)
    uid = (jobs.read(KEY) or {})["metadata"]["uid"]
    assert jobs.past(KEY) == frozenset()
    with in_charge(jobs.folder(KEY)):
        jobs.remove(KEY)
    assert jobs.all() == []
    assert [path.name for path in root.rglob("*") if path.is_file()] == [uid]
    assert jobs.past(KEY) == {uid}


def test_the_port_outlives_its_service_while_agents_know_it(tmp_path: Path) -> None:
    objects = LocalObjects(make_jobs(tmp_path).folder(KEY))
    objects.create(SERVICE)
    port = objects.port()
    objects.delete("Service", "s")
    objects.create(SERVICE, pods=True)
    assert objects.port() == port
