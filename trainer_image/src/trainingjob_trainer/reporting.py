"""What this process tells about itself: its phase and state, its pace about once a second, and a line in its log now and then.

Effects: the channel, the stamp page, the log.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Callable

from trainingjob_agent.stamp import StampWriter
from trainingjob_api.contract.channel import Pace, Standing
from trainingjob_api.contract.messages import GenerationId, Phase, State
from trainingjob_trainer.channel import Channel

PACE_SECONDS = 1.0
LOG_SECONDS = 10.0
RECENT_STEPS = 31
"""Steps whose median length is told."""

logger = logging.getLogger(__name__)


class Reporter:
    """Speaks for the main thread.

    Args:
        channel: to the agent.
        stamp: the stamp page.
        total_steps: of the job.
        clock: seconds, monotonic.
    """

    def __init__(self, channel: Channel, stamp: StampWriter, total_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.skipping_since: int | None = None
        """The step of the first save that was skipped for want of room since the last one that was made."""
        self.not_finite: str | None = None
        """As Pace.not_finite."""
        self._channel, self._stamp, self._total, self._clock = channel, stamp, total_steps, clock
        self._said: tuple[Phase, GenerationId | None, State | None] | None = None
        self._attempt = 0
        self._training_seconds = 0.0
        self._lengths: deque[float] = deque(maxlen=RECENT_STEPS)
        self._samples = 0
        self._rate = 0.0
        self._loss: float | None = None
        self._since = clock()
        self._leads = False
        self._logged = -LOG_SECONDS

    def standing(self, phase: Phase, generation: GenerationId | None = None, state: State | None = None) -> None:
        """Tell where this process stands, if that has changed."""
        self._stamp.mark(phase, generation=generation, step=None if state is None else state.step)
        words = (phase, generation, state)
        if words != self._said or phase is Phase.IDLE:
            self._said = words
            self._channel.send(Standing(phase=phase, generation=generation, state=state))

    def forming(self, generation: GenerationId) -> None:
        """Stamp that the generation's group is being formed."""
        self._stamp.mark(Phase.IDLE, generation=generation)

    def step_begins(self, step: int) -> float:
        """Stamp it; the time."""
        self._stamp.step(step)
        return self._clock()

    def step_ended(self, began: float, attempt: int, step: int, samples: int, loss: float, metrics: dict[str, float]) -> None:
        """Count the step, and tell the pace if it is time."""
        now = self._clock()
        if attempt != self._attempt:
            self._attempt, self._training_seconds = attempt, 0.0
        self._training_seconds += now - began
        self._lengths.append(now - began)
        self._samples += samples
        self._loss = loss if math.isfinite(loss) else None
        if now - self._since >= PACE_SECONDS or step == self._total:
            self.pace(step, metrics)

    def pace(self, step: int, metrics: dict[str, float]) -> None:
        """Tell it now, with the loss of the last step."""
        now = self._clock()
        if self._samples:
            self._rate = self._samples / max(now - self._since, 1e-9)
        self._channel.send(
            Pace(
                step=step,
                total_steps=self._total,
                loss=self._loss,
                samples_per_second=self._rate,
                training_seconds=self._training_seconds,
                metrics=metrics,
                skipping_since=self.skipping_since,
                not_finite=self.not_finite,
                step_seconds=statistics.median(self._lengths) if self._lengths else 0.0,
            )
        )
        self._samples, self._since = 0, now
        if self._leads and (now - self._logged >= LOG_SECONDS or step == self._total):
            self._logged = now
            told = "not finite" if self._loss is None else f"{self._loss:.4g}"
            logger.info("step %d of %d: loss %s, %.0f samples/s", step, self._total, told, self._rate)

    def regrouped(self, rank: int) -> None:
        """A generation begins: the time before it does not count for the pace. Rank 0 logs for all."""
        self._samples, self._since = 0, self._clock()
        self._leads = rank == 0
