"""From what is seen to what is to be done: the operator's one decision. Pure, total, and idempotent.

    decide (policy) -> next status -> desired children -> leftovers -> intent

A pass that changes what is wanted writes only the status and asks to run again at once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from trainingjob_api.contract.intent import Intent
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.children.desired import Desired, missing, strangers
from trainingjob_operator.controllers.training_job.children.pinned import pin
from trainingjob_operator.controllers.training_job.children.retention import is_expired, released
from trainingjob_operator.controllers.training_job.identity import choose, derive
from trainingjob_operator.controllers.training_job.intent import changes_intent, intent, may_follow_children
from trainingjob_operator.controllers.training_job.policy import Course, Decision, decide
from trainingjob_operator.controllers.training_job.policy.gang import askable
from trainingjob_operator.controllers.training_job.policy.wanted import seats
from trainingjob_operator.controllers.training_job.reasons import told
from trainingjob_operator.controllers.training_job.requeue import next_look
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Observed, Pinned, Plan
from trainingjob_operator.controllers.training_job.status.next import ledger_now, next_status
from trainingjob_operator.engine.values import Deletion, Manifest


def plan(seen: Observed, settings: Settings, now: datetime) -> Plan:
    """Return what one pass is to do about `seen`."""
    ledger = ledger_now(seen, now)
    decision = decide(seen, settings, ledger, now)
    pinned = _pinned(seen, decision, settings)
    status = next_status(seen, decision, pinned, settings, ledger, now)
    events = told(seen.job.status, status)
    if changes_intent(seen, decision):
        first = Plan(status=status, events=events, requeue_after=0.0)
        return _both_halves(replace(seen, pinned=pinned), first, settings, now) if may_follow_children(seen, decision) else first
    told_now = intent(seen, decision)
    return Plan(
        status=status,
        create=_missing(seen, decision, told_now, pinned, settings),
        delete=_leftovers(seen, decision, settings, now),
        delete_job=decision.course is Course.ENDED and is_expired(seen, now),
        intent=told_now,
        events=events,
        requeue_after=next_look(seen, decision, settings, ledger, status.ledger_mark, now),
    )


def preview(job: TrainingJob, settings: Settings, now: datetime) -> tuple[Manifest, ...]:
    """The objects that would be made for `job`, were it new."""
    return plan(Observed(job=job, children_first=True), settings, now).create


def _both_halves(seen: Observed, first: Plan, settings: Settings, now: datetime) -> Plan:
    """Return what `first` and the pass after it do together: the children, then one status that names them."""
    written = seen.job.model_copy(update={"status": first.status})
    second = plan(replace(seen, job=written), settings, now)
    return first if second.is_first_half() else replace(second, events=told(seen.job.status, second.status), children_first=True)


def _pinned(seen: Observed, decision: Decision, settings: Settings) -> Pinned | None:
    """Return what the pods of this pass are made from; None if it makes none."""
    return pin(seen, settings, anew=decision.anew) if decision.course in (Course.RUNNING, Course.STOPPING) else None


def _missing(seen: Observed, decision: Decision, first: Intent | None, pinned: Pinned | None, settings: Settings) -> tuple[Manifest, ...]:
    if pinned is None or first is None:
        return ()
    identity = derive(choose(settings.keys, seen.job.status.key_id), seen.job.metadata.uid)
    desired = Desired(first, askable(seen, decision.wanted), pinned, identity)
    return missing(seen, desired, settings, workers=decision.course is Course.RUNNING)


def _leftovers(seen: Observed, decision: Decision, settings: Settings, now: datetime) -> tuple[Deletion, ...]:
    match decision.course:
        case Course.RUNNING | Course.STOPPING:
            return strangers(seen, decision.wanted.epoch, seats(seen, decision.wanted))
        case Course.SUSPENDED | Course.RELEASED:
            return strangers(seen, 0, {})
        case Course.ENDED:
            return released(seen, settings, now)
    return ()
