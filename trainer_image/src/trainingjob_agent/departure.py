"""How an agent leaves: when it may, and its last words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob_api.contract.messages import LogPosition, MemberReport, Orders, Phase, Stage
from trainingjob_api.contract.runtime import ExitCode, Termination

SETTLED_SECONDS = 1.0
"""For so long nothing may be going on before an agent leaves: its members may be wanted for a last save."""
_MAX_MESSAGE = 1024


def at_rest(reports: Sequence[MemberReport], orders: Orders | None) -> bool:
    """No member of this agent takes part in anything, nor is about to.

    Args:
        reports: its members.
        orders: the newest.
    """
    if any(report.phase not in (Phase.STARTING, Phase.IDLE, Phase.GONE) for report in reports):
        return False
    if orders is None or orders.generation is None or orders.stage is Stage.OVER:
        return True
    return all(orders.generation.rank_of(report.member) is None for report in reports)


def closing(code: ExitCode, message: str, orders: Orders | None, position: LogPosition | None, step: int | None) -> Termination:
    """The last words.

    Args:
        code: how the agent ends.
        message: what happened.
        orders: the newest.
        position: what is known of the log.
        step: the last finished step that is known.
    """
    ended = orders is not None and orders.done
    stopped = orders is not None and orders.stop is not None
    done = ended and (not stopped or (position is not None and position.done))
    return Termination(
        code=code,
        message=message[:_MAX_MESSAGE],
        done=done,
        suspended_at_step=orders.checkpoint if orders is not None and ended and stopped and not done else None,
        step=step,
        log=position if done else None,
    )
