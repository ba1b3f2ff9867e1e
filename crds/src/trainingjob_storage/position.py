"""What a log says, in the words of the contract. Pure."""

from __future__ import annotations

from trainingjob_api.contract.messages import LogPosition
from trainingjob_api.storage.log import History

POSITION_STEPS = 20
"""So many of the newest visible checkpoints are named."""


def position_of(history: History, owner_uid: str, uri: str, opened: LogPosition) -> LogPosition:
    """The position that the job `owner_uid` reports.

    Args:
        history: the whole log.
        owner_uid: what another job has exported and done is not this one's.
        uri: of the storage, for the exported model's.
        opened: holds what the reporting agent has opened itself.
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
            "checkpoints": tuple(sorted({kept.step for kept in history.visible()})[-POSITION_STEPS:]),
            "quarantined": history.quarantined[-POSITION_STEPS:],
            "exported": f"{uri}/{exported.folder}" if exported else None,
            "done": done is not None,
            "result": done.result if done else {},
        }
    )
