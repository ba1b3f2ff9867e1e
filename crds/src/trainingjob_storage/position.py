"""What a log says, in the words of the contract. Pure."""

from __future__ import annotations

from collections.abc import Collection

from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.storage.log import History

POSITION_STEPS = 20
"""So many checkpoints are named: the pinned ones and the newest."""


def steps_of(history: History, giving_up: Collection[str] = ()) -> tuple[int, ...]:
    """Return the steps that a rollback can go to, oldest first: the pinned ones and the newest, without what is about to be dropped."""
    staying = [kept for kept in history.visible() if kept.save not in giving_up]
    pinned = {kept.step for kept in staying if kept.pinned}
    others = sorted({kept.step for kept in staying} - pinned)
    return tuple(sorted([*pinned, *others[-(POSITION_STEPS - len(pinned)) :]]))


def position_of(history: History, owner_uid: str, uri: str, opened: LogPosition, giving_up: Collection[str] = ()) -> LogPosition:
    """The position that the job `owner_uid` reports.

    Args:
        history: the whole log.
        owner_uid: what another job has exported and done is not this one's.
        uri: of the storage, for the exported model's.
        opened: holds what the reporting agent has opened and answered itself.
        giving_up: saves that retention drops next: whoever reads the position may come too late for them.
    """
    newest = history.newest()
    ours = history.owner is not None and history.owner.owner_uid == owner_uid
    done = history.done if ours else None
    exported = history.exported if ours else None
    return opened.model_copy(
        update={
            "seq": history.seq,
            "attempt": history.attempt,
            "epoch": history.epoch,
            "checkpoint": newest.step if newest else None,
            "checkpoint_time": newest.entry.time if newest else None,
            "checkpoints": steps_of(history, giving_up),
            "quarantined": history.quarantined[-POSITION_STEPS:],
            "exported": f"{uri}/{exported.folder}" if exported else None,
            "done": done is not None,
            "result": done.result if done else {},
        }
    )
