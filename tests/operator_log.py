"""The log of a made-up job. Plain objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainingjob_api.contract.messages import Keep, LogPosition, Restore


@dataclass
class Log:
    """The job's log, as far as the operator hears of it."""

    attempt: int = 0
    opened: int = 0
    restored: int | None = None
    request: str | None = None
    missing: str | None = None
    checkpoints: list[int] = field(default_factory=list)
    done: bool = False
    retained: int = 99
    """So many of the newest checkpoints does retention leave."""
    requests: set[str | None] = field(default_factory=set)
    """Rollbacks that were carried out."""
    pinned: int | None = None
    asked: Keep | None = None
    found: bool = False

    def position(self) -> LogPosition:
        return LogPosition(
            seq=self.attempt,
            attempt=self.attempt,
            opened_attempt=self.opened,
            restored_step=self.restored,
            request=self.request,
            missing_request=self.missing,
            checkpoint=self.checkpoints[-1] if self.checkpoints else None,
            checkpoints=tuple(self.checkpoints),
            asked=self.asked,
            found=self.found,
            done=self.done,
        )

    def save(self, step: int) -> None:
        """Commit a checkpoint, and drop what need not be kept."""
        self.checkpoints.append(step)
        newest = self.checkpoints[-self.retained :]
        self.checkpoints = [step for step in self.checkpoints if step in newest or step == self.pinned]

    def keep(self, wanted: Keep) -> None:
        """Pin a checkpoint, if it is there; only its rollback or another pin ends that."""
        self.asked, self.found = wanted, wanted.step in self.checkpoints
        self.pinned = wanted.step if self.found else self.pinned

    def open(self, attempt: int, restore: Restore) -> int:
        """Open an attempt; returns the step it starts from."""
        self.request = self.missing = None
        if restore.request in self.requests:
            self.request = restore.request
        elif restore.kind == "Step" and restore.step in self.checkpoints:
            self.checkpoints = [step for step in self.checkpoints if step <= (restore.step or 0)]
            self.request, self.pinned = restore.request, None
            self.requests.add(restore.request)
        elif restore.kind == "Step":
            self.missing = restore.request
        self.attempt = self.opened = attempt
        self.restored = self.checkpoints[-1] if self.checkpoints else 0
        self.done = False
        return self.restored
