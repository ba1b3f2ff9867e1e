"""Says why a training process ended. Pure, but for `count_oom_kills`, which reads the kernel's counters.

It classifies what was seen and nothing more: whether a failure is counted or retried is the operator's decision.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from trainingjob_agent.stamp import Stamp
from trainingjob_api.contract.channel import Raised
from trainingjob_api.contract.messages import Failure, FailureCause, MemberId
from trainingjob_api.contract.runtime import ExitCode

MAX_MESSAGE = 1024
MAX_PLACE = 200
FINAL = {FailureCause.USER_ERROR.value: ExitCode.USER_ERROR, FailureCause.FENCED.value: ExitCode.FENCED}
"""Causes after which nothing is tried again, and how the worker ends."""


class UserMistakeError(ValueError):
    """The job cannot work as its manifest says; the message names the field and the fix."""

    cause = FailureCause.USER_ERROR


class ForeignStorageError(UserMistakeError):
    """The storage that the manifest names belongs to another job."""

    cause = FailureCause.FENCED


def classify(
    member: MemberId,
    exit_code: int,
    stamp: Stamp,
    *,
    last_line: str,
    mistake: UserMistakeError | None,
    oom_kills: int,
    raised: Raised | None = None,
    hung: str | None = None,
    unanswered: str | None = None,
    done: bool = False,
) -> Failure | None:
    """The failure of a process that ended, or None if it ended in order.

    Args:
        member: the process.
        exit_code: its code; negative: minus the signal.
        stamp: the last it stamped.
        last_line: the last line of its output.
        mistake: what it, or its agent, said was wrong with the manifest or the user's code.
        oom_kills: how many processes of this container the kernel killed for memory during its life.
        raised: the exception that it said it ends by.
        hung: why its agent killed it, if it was taken for hung.
        unanswered: why its agent killed it, if it could not be answered.
        done: it was allowed to end.
    """
    if exit_code == 0 and done:
        return None
    last_line = last_line if raised is None else raised.message
    if hung is not None:
        cause, message = FailureCause.HUNG, hung
    elif unanswered is not None and mistake is None and exit_code == -signal.SIGKILL and not oom_kills:
        cause, message = FailureCause.CRASH, unanswered
    else:
        cause, message = _cause(exit_code, last_line, mistake, oom_kills)
    return Failure(
        member=member,
        cause=cause,
        message=message[:MAX_MESSAGE],
        raised=raised.where[:MAX_PLACE] if raised is not None and cause is FailureCause.CRASH else "",
        samples=raised is not None and raised.samples and cause is FailureCause.CRASH,
        exit_code=exit_code,
        step=stamp.step,
        phase=stamp.phase.value,
        generation=stamp.generation,
    )


def _cause(exit_code: int, last_line: str, mistake: UserMistakeError | None, oom_kills: int) -> tuple[FailureCause, str]:
    if mistake is not None:
        return mistake.cause, str(mistake)
    if exit_code == ExitCode.USER_ERROR:
        return FailureCause.USER_ERROR, last_line or "the training process called it a user error and gave no reason"
    if exit_code == -signal.SIGKILL and oom_kills > 0:
        return FailureCause.OUT_OF_MEMORY, "killed for memory; give the worker a larger memory limit or the training a smaller batch"
    if exit_code < 0:
        return FailureCause.SIGNAL, _signal_name(-exit_code)
    if exit_code == 0:
        return FailureCause.CRASH, "ended with 0 before the job was done"
    return FailureCause.CRASH, last_line or f"ended with exit code {exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def restart_delay(previous: float | None, lived_seconds: float) -> float:
    """Seconds to wait before the next life: none at first, then 1, 2, 4 … 30 while lives end within 10 s of each other."""
    if previous is None or lived_seconds >= 10.0:
        return 0.0
    return min(30.0, max(1.0, previous * 2))


def count_oom_kills(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Processes of this container that the kernel has killed for memory so far; 0 where it does not say."""
    for path in _counters(root, own):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found.group(1))
    return 0


def _counters(root: Path, own: Path) -> list[Path]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths: list[Path] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths.append(root / "memory" / group.lstrip("/") / "memory.oom_control")
        elif not controllers:
            paths.append(root / group.lstrip("/") / "memory.events")
    return [*paths, root / "memory.events", root / "memory" / "memory.oom_control"]
