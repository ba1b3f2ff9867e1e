"""The kubelet of local mode: starts the pods of one job as processes, watches them, and ends them.

Effects: processes, their records, timers of the running event loop. Level-triggered: `sweep` makes records and processes
agree from whatever state a killed predecessor left. It must not decide which pods there are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from trainingjob_api.procfs import boot_id
from trainingjob_operator.controllers.training_job.state import Pod, Role
from trainingjob_operator.engine.values import Manifest
from trainingjob_operator.local import given
from trainingjob_operator.local.environment import Place, UnresolvedError, arguments, environment, manifest_variables
from trainingjob_operator.local.folder import JobFolder
from trainingjob_operator.local.objects import LocalObjects
from trainingjob_operator.local.processes import kill_all, marked, send, start_time
from trainingjob_operator.local.records import UNKNOWN_EXIT, PodRecord, Records, as_pod, exit_code

_UNWRITTEN_START_SECONDS = 2.0
"""A start that a killed predecessor did not write down shows itself in /proc within this time."""
_BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0)


class LocalPods:
    """The pods of one job. Of two programs only the one in charge of the job may have one."""

    def __init__(
        self, folder: JobFolder, caller: Mapping[str, str], directory: Path, wake: Callable[[], None], working: Path | None = None
    ) -> None:
        """`directory` is where the manifest lies, `working` where the processes work. Default: where the caller does."""
        self._folder = folder
        self._records = Records(folder)
        self._objects = LocalObjects(folder)
        self._caller = caller
        self._directory = directory
        self._working = working
        self._wake = wake
        self._boot = boot_id()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._watched: dict[str, tuple[int, int]] = {}
        """Pod name -> (pid, descriptor of the process)."""
        self._timers: set[asyncio.TimerHandle] = set()

    def observe(self) -> tuple[Pod, ...]:
        """All pods as they are now."""
        self.sweep()
        return tuple(as_pod(record, self._records.termination(record.name)) for record in self._records.all())

    def create(self, manifest: Manifest) -> None:
        """Write a pod down and start its process. One that is there already is left as it is."""
        name = manifest["metadata"]["name"]
        if self._records.find(name) is None:
            self._records.termination_log(name).unlink(missing_ok=True)
            record = PodRecord(uid=str(uuid.uuid4()), manifest=manifest, created=time.time(), start_after=time.time())
            self._start(self._records.write(record))

    def delete(self, name: str, grace: float | None) -> None:
        """Ask a pod to go: SIGTERM to its main process, and SIGKILL to all of it `grace` seconds later. 0: at once."""
        record = self._records.find(name)
        if record is None:
            return
        granted = record.own_grace() if grace is None else grace
        if record.deleted_at is None or record.deleted_at + record.grace > time.time() + granted:
            record = self._records.write(record.model_copy(update={"deleted_at": time.time(), "grace": granted}))
            if record.pid is not None and record.began is not None and granted > 0:
                send(record.pid, record.began, signal.SIGTERM)
        self._refresh(record)

    def kill(self) -> None:
        """Kill every process of the job. Writes nothing: a disk that is full keeps nobody alive."""
        for record in self._records.all():
            if not record.over:
                kill_all(record.uid, record.pid if record.boot == self._boot else None, record.began)

    def sweep(self) -> None:
        """Make records and processes agree."""
        for record in self._records.all():
            self._refresh(record)

    def close(self) -> None:
        """Stop watching; the pods go on."""
        for name in list(self._watched):
            self._unwatch(name)
        for timer in self._timers:
            timer.cancel()
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # it outlives this program on purpose: no warning when the object goes
        self._children.clear()

    def _refresh(self, record: PodRecord) -> None:
        if record.over:
            if record.deleted_at is not None:
                self._forget(record)
        elif record.pid is None:
            self._begin(record)
        elif self._lives(record):
            self._watch(record)
            if record.deleted_at is not None:
                self._press(record)
        else:
            self._ended(record)

    def _begin(self, record: PodRecord) -> None:
        """No process is written down: adopt an unwritten one, or start the first or next one when it is time."""
        found = marked(record.uid)
        if found:
            began = start_time(found[0])
            if began is not None:
                self._refresh(self._records.write(record.model_copy(update={"pid": found[0], "began": began, "boot": self._boot})))
        elif record.deleted_at is not None:
            self._forget(record)
        elif record.reason == "":
            due = max(record.start_after, record.created + _UNWRITTEN_START_SECONDS if not record.restarts else 0.0)
            if time.time() >= due:
                self._start(record)
            else:
                self._later(due - time.time())

    def _start(self, record: PodRecord) -> None:
        if record.role is Role.RENDEZVOUS:
            self._end_predecessors(record)
        scratch = self._records.scratch(record.name)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            place = self._place(record, scratch)
            variables = environment(record.manifest, place)
            command = arguments(record.manifest, sys.executable, manifest_variables(record.manifest, place))
            child = self._spawn(command, variables, self._records.log(record.name), record.manifest)
        except UnresolvedError as error:
            self._records.write(record.model_copy(update={"reason": "CreateContainerConfigError", "message": str(error)}))
            return
        except OSError as error:
            message = f"{error.strerror or error}: {error.filename or ''}"
            self._records.write(record.model_copy(update={"reason": "StartError", "message": message, "over": True, "exit_code": 128}))
            return
        self._children[child.pid] = child
        record = record.model_copy(update={"pid": child.pid, "began": start_time(child.pid), "boot": self._boot})
        self._refresh(self._records.write(record))

    def _spawn(self, command: list[str], variables: dict[str, str], log: Path, manifest: Manifest) -> subprocess.Popen[bytes]:
        directory = manifest["spec"]["containers"][0].get("workingDir")
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=directory if directory and Path(directory).is_dir() else self._working,
                start_new_session=True,
            )

    def _place(self, record: PodRecord, scratch: Path) -> Place:
        return Place(
            uid=record.uid,
            python=sys.executable,
            directory=str(self._directory),
            termination_log=str(self._records.termination_log(record.name).absolute()),
            scratch=str(scratch.absolute()),
            port=self._objects.port(),
            caller=self._caller,
            secrets=self._objects.secrets(),
            given=given.read(self._folder),
        )

    def _end_predecessors(self, record: PodRecord) -> None:
        """The Service's one port has one holder: an older epoch's rendezvous makes room."""
        for other in self._records.all():
            if other.role is Role.RENDEZVOUS and other.uid != record.uid:
                kill_all(other.uid, other.pid, other.began)

    def _lives(self, record: PodRecord) -> bool:
        """The written process itself lives, not another one that got its number."""
        child = self._children.get(record.pid or 0)
        if child is not None and child.poll() is not None:
            return False
        if record.pid is None or record.began is None or record.boot != self._boot:
            return False
        return start_time(record.pid) == record.began

    def _press(self, record: PodRecord) -> None:
        """The pod was asked to go: kill it when its grace is over."""
        left = (record.deleted_at or 0.0) + record.grace - time.time()
        if left <= 0:
            kill_all(record.uid, record.pid, record.began)
            left = 0.05
        self._later(left)

    def _ended(self, record: PodRecord) -> None:
        """The main process is gone: end what it left behind, and write down how it ended."""
        self._unwatch(record.name)
        child = self._children.get(record.pid or 0)
        kill_all(record.uid, record.pid if record.boot == self._boot else None, record.began)
        if child is not None:
            child.poll()  # it may have ended between two looks: it is reaped here, or never
        if record.deleted_at is not None:
            self._forget(record)
        elif record.restarts_always():
            pause = _BACKOFF_SECONDS[min(record.restarts, len(_BACKOFF_SECONDS) - 1)]
            again = {"pid": None, "began": None, "restarts": record.restarts + 1, "start_after": time.time() + pause}
            self._begin(self._records.write(record.model_copy(update=again)))
        else:
            self._records.write(record.model_copy(update={"over": True, **self._outcome(record, child)}))
        self._children.pop(record.pid or 0, None)  # not before it is written down how it ended
        self._wake()  # it may have ended before anybody could watch it

    def _outcome(self, record: PodRecord, child: subprocess.Popen[bytes] | None) -> dict[str, object]:
        if child is not None and child.poll() is not None:
            return {"exit_code": exit_code(child.returncode)}
        if (words := self._records.termination(record.name)) is not None:
            return {"exit_code": words.code}
        return {"exit_code": UNKNOWN_EXIT, "reason": "ContainerStatusUnknown", "message": "it ended while nobody watched"}

    def _forget(self, record: PodRecord) -> None:
        self._unwatch(record.name)
        self._children.pop(record.pid or 0, None)
        self._records.remove(record)
        self._wake()

    def _watch(self, record: PodRecord) -> None:
        """Have the event loop told at once when the process ends."""
        if record.pid is None or self._watched.get(record.name, (None, 0))[0] == record.pid:
            return
        self._unwatch(record.name)
        try:
            descriptor = os.pidfd_open(record.pid)
        except ProcessLookupError:
            self._later(0)
            return
        self._watched[record.name] = (record.pid, descriptor)
        asyncio.get_running_loop().add_reader(descriptor, self._notice, record.name)

    def _unwatch(self, name: str) -> None:
        if (watched := self._watched.pop(name, None)) is not None:
            asyncio.get_running_loop().remove_reader(watched[1])
            os.close(watched[1])

    def _notice(self, name: str) -> None:
        self._unwatch(name)
        self._swept()

    def _later(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self._swept)
        self._timers = {old for old in self._timers if not old.cancelled() and old.when() > asyncio.get_running_loop().time()}
        self._timers.add(timer)

    def _swept(self) -> None:
        self.sweep()
        self._wake()
