"""What must hold of the rollbacks of a made-up job. Plain objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from operator_log import Log
from trainingjob_api.contract.messages import Keep, Restore
from trainingjob_api.status import Status


@dataclass
class Rollbacks:
    """Who keeps their checkpoints, and which requests rely on it."""

    keeps: bool = True
    """The workers are new enough to keep a checkpoint when they are asked to."""
    mute: bool = False
    """Whoever is asked does not answer yet."""
    _pinned: set[str] = field(default_factory=set)
    _carried_out: set[str] = field(default_factory=set)

    def answer(self, log: Log, wanted: Keep | None) -> None:
        """One of the workers does as it is asked to."""
        if wanted is not None and self.keeps and not self.mute:
            log.keep(wanted)

    def begin(self, log: Log, old: Status, new: Status) -> None:
        """A rollback begins while workers run: only when its checkpoint is kept."""
        request = new.restore.request
        if request is None or request == old.restore.request or not self.keeps:
            return
        wanted = Keep(step=new.restore.step or 0, request=request)
        assert (log.asked, log.found) == (wanted, True), "nobody has kept its checkpoint"
        self._pinned.add(request)

    def open(self, log: Log, restore: Restore) -> None:
        """An attempt is opened: what was kept for it is there."""
        if restore.request in self._pinned - self._carried_out:
            assert restore.step in log.checkpoints, f"checkpoint {restore.step} was pinned, and is gone"
        if restore.step in log.checkpoints and restore.request is not None:
            self._carried_out.add(restore.request)
