"""The steps of one generation, from the first it takes to the last. Effects: everything that training changes.

What each rank does after a step is decided by the sum of all ranks' control words, so all do it at the same step. It knows
nothing of how a generation comes about; losing a peer surfaces as Interrupted, newer orders as Superseded.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from trainingjob_api.contract.messages import Generation, Orders, Phase, SaveId
from trainingjob_trainer.channel import Channel, Superseded
from trainingjob_trainer.checkpoint.arena import SnapshotArena
from trainingjob_trainer.checks.mistakes import UserMistake, user_code
from trainingjob_trainer.export import export_model
from trainingjob_trainer.learning.early_stopping import EarlyStopping
from trainingjob_trainer.reporting import Reporter
from trainingjob_trainer.session import Session
from trainingjob_trainer.strategy.control import Decision, Next, flags_from

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 10.0
"""How long a store that did not take the last checkpoint, or the model, is left alone."""


@dataclass
class Saving:
    """What this process remembers of saves, across generations."""

    last: float
    """When the last one was made, by the clock."""
    request: str | None = None
    """The last request for a checkpoint that was carried out."""
    heard: str | None = None
    """The last request that was known when a step began: the next snapshot carries it out, and none that comes while it is made."""
    skipping_since: int | None = None
    """The step of the first save that was skipped for want of room since the last one that was made; None: none was. It is made up
    for at the first step at which all ranks have room."""


@dataclass
class Run:
    """One rank in one running generation."""

    session: Session
    generation: Generation
    rank: int
    channel: Channel
    reporter: Reporter
    arena: SnapshotArena
    saving: Saving
    superseded: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    saved_step: int | None = field(default=None)
    """The step this generation made its last snapshot at."""
    saved_buffer: int = 0
    """Where that lies in the arena."""

    def phase(self, phase: Phase) -> None:
        """Tell the phase."""
        self.reporter.standing(phase, self.generation.id)

    def has_room(self) -> bool:
        """Return whether this rank could take a snapshot now."""
        return self.arena.has_room(len(self.generation.seats))


def run_steps(run: Run) -> None:
    """Train until the ranks decide to leave, or to the end of the job. Returns when the rank is to report Idle.

    Raises:
        Interrupted: a peer is lost.
        Superseded: newer orders came while it waited for something else than a peer.
        UserMistake: the job cannot go on.
    """
    decision: Decision | None = None
    while True:
        _evaluate_if_due(run)
        if decision is not None and _save_is_due(run, decision):
            _save_or_skip(run, decision)
        if decision is not None and decision.then is Next.REGROUP:
            return
        if run.session.finished():
            _finish(run)
            return
        if decision is not None and decision.then is Next.STOP:
            if decision.save:
                await_commit(run)
            return
        decision = _step(run)
        # Only now, and beside the steps: the first step of a smaller group is what its members are waited for.
        run.arena.fit(len(run.generation.seats))


def _step(run: Run) -> Decision:
    session, state = run.session, run.session.state
    run.phase(Phase.STEPPING)
    began = run.reporter.step_begins(state.step)
    if run.channel.orders is not None:
        run.saving.heard = run.channel.orders.save
    # Only this thread takes buffers: one that is free now is free after the step, when the sum is known.
    outcome = session.strategy.step(flags_from(run.channel.orders, save=_wants_save(run), room=run.has_room()))
    if not outcome.updated and session.spec.divergence.on_non_finite != "Ignore":
        raise UserMistake(
            f"spec.training: the loss or a gradient of step {state.step} is not finite; lower optimizer.learningRate, set"
            " regularisation.gradientClipNorm, check the data, or set divergence.onNonFinite: Ignore"
        )
    run.reporter.step_ended(began, state.attempt, state.step, outcome.samples, outcome.loss, state.metrics)
    return outcome.decision


def _wants_save(run: Run) -> bool:
    """Rank 0 asks for all, so that a request is carried out once although the ranks hear of it at different steps."""
    if run.rank != 0:
        return False
    if run.saving.skipping_since is not None:
        return True
    interval = run.session.spec.checkpoint.every_seconds
    asked = run.saving.heard not in (None, run.saving.request)
    return asked or (interval is not None and run.clock() - run.saving.last >= interval)


def _save_is_due(run: Run, decision: Decision) -> bool:
    interval = run.session.spec.checkpoint.step_interval
    return decision.save or (interval is not None and run.session.state.step % interval == 0)


def _save_or_skip(run: Run, decision: Decision) -> None:
    """Save where all ranks have room. Where one has not, no rank saves, and no rank waits: steps go on. At a stop `await_commit` waits."""
    if decision.room:
        run.session.strategy.verify()
        snapshot(run)
    elif decision.then is not Next.STOP and run.saving.skipping_since is None:
        skip(run)


def skip(run: Run) -> None:
    """Record that a save which was due is not made."""
    step = run.session.state.step
    run.saving.skipping_since = run.reporter.skipping_since = step
    if run.rank == 0:
        logger.warning("step %d is not saved: a rank has no free snapshot buffer; the next step at which all have one is saved", step)


def snapshot(run: Run) -> None:
    """Hand this rank's share of the state to the agent, once a step and generation. Wait for a free buffer where there is none.

    Raises:
        Superseded: newer orders came while it waited.
    """
    step = run.session.state.step
    if run.saved_step == step:
        return
    if not run.has_room():
        logger.warning("step %d: waiting until storage takes an earlier snapshot", step)
    save = SaveId(generation=run.generation.id, step=step)
    run.saved_buffer = run.arena.snapshot(save, run.rank, len(run.generation.seats), run.session.position(), run.superseded)
    run.saved_step, run.saving.last = step, run.clock()
    run.saving.skipping_since = run.reporter.skipping_since = None
    run.saving.request = run.saving.heard or run.saving.request


def await_commit(run: Run) -> None:
    """Save this step if it is not saved yet, and wait until its checkpoint is committed; what the store does not take is handed
    over again. No step follows, so waiting costs none.

    Raises:
        Superseded: newer orders came first.
    """
    step = run.session.state.step
    run.phase(Phase.FINISHING)
    run.reporter.pace(step, run.session.state.metrics)  # the exact step: it says what is lost where storage does not take it
    snapshot(run)

    def again() -> int:
        run.saved_step = None
        snapshot(run)
        return run.saved_buffer

    _await(run, lambda orders: orders.checkpoint is not None and orders.checkpoint >= step, run.saved_buffer, again)


def _await(run: Run, wanted: Callable[[Orders], bool], buffer: int | None = None, again: Callable[[], int] | None = None) -> None:
    """Wait for orders; `again` hands over anew what lay in `buffer`, if the store has not taken it.

    Raises:
        Superseded: newer orders came first.
    """

    def over() -> bool:
        return run.superseded() or (run.channel.orders is not None and wanted(run.channel.orders))

    while again is not None:
        run.channel.wait(partial(_settles, run, over, buffer))
        if over():
            break
        logger.error("step %d: storage has not taken it; trying again in %.0f s", run.session.state.step, AGAIN_SECONDS)
        if run.channel.wait(over, AGAIN_SECONDS):
            break
        buffer = again()
    run.channel.wait(over)
    if run.channel.orders is None or not wanted(run.channel.orders):
        raise Superseded


def _settles(run: Run, over: Callable[[], bool], buffer: int | None) -> bool:
    """It is over, or the store has refused."""
    released = None if buffer is None else run.channel.released(buffer)
    return over() or (released is not None and not released.ok)


def _evaluate_if_due(run: Run) -> None:
    """Measure on the validation data after every so many epochs, and after the last step."""
    session, state = run.session, run.session.state
    epoch, within = session.order.place(state.step)
    ends = within == 0 and epoch % session.training.evaluation.every_epochs == 0
    due = ends or state.step >= session.total_steps
    if not due or state.step <= state.evaluated_step or not len(session.splits.validation):
        return
    run.phase(Phase.EVALUATING)
    metrics = session.strategy.evaluate(session.splits.validation)
    state.metrics = _finite(metrics)
    state.evaluated_step = state.step
    _tell_not_finite(run, metrics, "validation")
    if run.rank == 0:
        measured = ", ".join(f"{name} {value:.4g}" for name, value in sorted(state.metrics.items()))
        logger.info("step %d: on the validation data %s", state.step, measured)
    _observe(session, metrics)
    # Who has evaluated and who has not must not pass for equal: they differ in what they do next.
    state.extend_digest("evaluation", *(metrics[name] for name in sorted(metrics)))


def _tell_not_finite(run: Run, metrics: dict[str, float], data: str) -> None:
    """Report the metrics that are no finite numbers, which no table shows; log them when they begin to be so."""
    found = ", ".join(f"{name} is {value}" for name, value in sorted(metrics.items()) if not math.isfinite(value))
    step = run.session.state.step
    if found and not run.reporter.not_finite and run.rank == 0:
        logger.warning(
            "step %d: on the %s data %s, and is left out; check these samples and the model's outputs for them", step, data, found
        )
    run.reporter.not_finite = f"{found} on the {data} data, at step {step}" if found else ""


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Without what JSON cannot say."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _observe(session: Session, metrics: dict[str, float]) -> None:
    spec, state = session.training.early_stopping, session.state
    if spec is None:
        return
    with user_code("spec.training.earlyStopping"):
        state.early_stopping, stop = EarlyStopping.observe(state.early_stopping, metrics, spec)
    if stop:
        logger.info("step %d: %s has not improved in %d evaluations; training ends", state.step, spec.metric, spec.patience)
        state.stopped_early = True


def _finish(run: Run) -> None:
    """The last step is done: save, measure on the test data, export, and wait for the end. A later generation may do it again."""
    session, state = run.session, run.session.state
    run.phase(Phase.FINISHING)
    orders = run.channel.orders
    committed = session.strategy.agree(-1 if orders is None or orders.checkpoint is None else orders.checkpoint)
    if committed < state.step:
        session.strategy.verify()
        await_commit(run)
    test = session.splits.test
    measured = session.strategy.evaluate(test) if len(test) else state.metrics
    metrics = _finite(measured)
    if len(metrics) < len(measured):
        _tell_not_finite(run, measured, "test")
    run.reporter.pace(state.step, metrics)
    if run.rank == 0:
        _await(run, lambda orders: orders.done, _export(run, metrics), lambda: _export(run, metrics))
    else:
        _await(run, lambda orders: orders.done)


def _export(run: Run, metrics: dict[str, float]) -> int:
    """Hand the model to the agent; the buffer in which it lies."""
    session = run.session
    assert session.training.task is not None
    model, metadata = export_model(
        session.state.model,
        session.training.task.class_name,
        session.training.task.parameters,
        metrics,
        session.state.step,
        job=session.environment.job,
    )
    save = SaveId(generation=run.generation.id, step=session.state.step)
    return run.arena.export(save, model, metadata, metrics, run.superseded)
