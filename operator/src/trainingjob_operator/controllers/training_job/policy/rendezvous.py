"""Does the job need another rendezvous? Pure. Only on evidence: its pod has failed, is going, or is gone; or its
node is lost, and it is not heard of any more.
"""

from __future__ import annotations

from dataclasses import replace

from trainingjob_operator.controllers.training_job.policy.wanted import Wanted, rendezvous_pod
from trainingjob_operator.controllers.training_job.state import NODE_LOST, Observed


def renewed(seen: Observed, wanted: Wanted) -> Wanted:
    """A higher epoch if the rendezvous of the present one is lost; otherwise it is noted whether its pod has been seen."""
    pod = rendezvous_pod(seen, wanted)
    lost = pod is not None and pod.reason == NODE_LOST and not seen.reporting
    if pod is not None and not pod.over() and not pod.deleting and not lost:
        return replace(wanted, rendezvous_seen=True)
    if pod is None and not wanted.rendezvous_seen:
        return wanted
    return replace(wanted, epoch=wanted.epoch + 1, rendezvous_seen=False)
