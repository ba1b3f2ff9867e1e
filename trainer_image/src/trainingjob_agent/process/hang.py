"""Tells a hung training process from a slow one, by its stamps. Pure.

Who waits inside a collective is never the culprit: it waits for somebody who has not entered, and that one's agent sees it. But
once the generation is over nobody may stay in one. A phase
that waits for others or for storage has no limit.
"""

from __future__ import annotations

from trainingjob_agent.stamp import Stamp
from trainingjob_api.contract.messages import MemberReport, Orders, Phase

LIMIT_SECONDS: dict[Phase, float] = {
    Phase.STARTING: 1800.0,
    Phase.STEPPING: 900.0,
    Phase.EVALUATING: 3600.0,
}
"""The longest time without a change of the stamp: imports and builds of any size, a first step with its compilation, a long evaluation."""


LEAVE_SECONDS = 10.0
"""How long a process may stay inside a collective of a generation that is over. Its connections are cut: milliseconds are usual."""


def generation_is_over(report: MemberReport, orders: Orders | None) -> bool:
    """The process is said to be in a generation that the rendezvous has ended."""
    if orders is None or report.generation is None or report.phase is Phase.IDLE:
        return False
    return orders.end(report.generation)


def stuck(stamp: Stamp, now_ns: int, over_ns: int | None) -> str | None:
    """Why a process is taken for stuck in a generation that has been over since `over_ns`, or None. Times as in `hung`."""
    if over_ns is None or stamp.entered <= stamp.left:
        return None
    seconds = (now_ns - max(over_ns, stamp.changed_ns)) / 1e9
    return f"hung: inside a collective {seconds:.0f} s after its generation was over" if seconds > LEAVE_SECONDS else None


def hung(stamp: Stamp, now_ns: int, born_ns: int) -> str | None:
    """Why a process is taken for hung, or None.

    Args:
        stamp: the newest.
        now_ns: time.monotonic_ns().
        born_ns: the same at the process's start, for one that has stamped nothing yet.
    """
    limit = LIMIT_SECONDS.get(stamp.phase)
    if limit is None or stamp.entered > stamp.left:
        return None
    silent = (now_ns - (stamp.changed_ns or born_ns)) / 1e9
    if silent <= limit:
        return None
    return f"hung: nothing has moved in phase {stamp.phase.value} for {silent:.0f} s, and it is in no collective"
