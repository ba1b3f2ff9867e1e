"""Which workers there are to be: the spec's number, and spares once the job is ready. Pure.

A worker that is not wanted any more gets its next incarnation at once, so that it is another one if it is wanted again.
"""

from __future__ import annotations

from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, made
from trainingjob_operator.controllers.training_job.state import Observed


def resized(seen: Observed, wanted: Wanted) -> Wanted:
    """The same with a record for every worker that is wanted now."""
    workers = seen.job.spec.workers
    ready = seen.job.status.condition("Ready")
    count = workers.replicas + (workers.spares if ready is not None and ready.status == "True" else 0)
    incarnations = dict(wanted.incarnations)
    added = [index for index in range(count) if index not in incarnations]
    limit, unused = workers.replicas + workers.spares, wanted.unseen - made(seen, wanted)
    dropped = [index for index in incarnations if index >= limit and index not in unused]
    if not added and not dropped:
        return wanted
    incarnations |= dict.fromkeys(added, 0) | {index: incarnations[index] + 1 for index in dropped}
    return wanted.with_workers(incarnations, {*wanted.unseen, *added, *dropped})
