"""The log of a made-up job. Plain objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainingjob_api.contract.messages import LogPosition


@dataclass
class Log:
    """The job's log, as far as the operator hears of it."""

    attempt: int = 0
    opened: int = 0
    restored: int | None = None
    request: str | None = None
    checkpoints: list[int] = field(default_factory=list)
    done: bool = False

    def position(self) -> LogPosition:
        return LogPosition(
            seq=self.attempt,
            attempt=self.attempt,
            opened_attempt=self.opened,
            restored_step=self.restored,
            request=self.request,
            checkpoint=self.checkpoints[-1] if self.checkpoints else None,
            checkpoints=tuple(self.checkpoints),
            done=self.done,
        )
