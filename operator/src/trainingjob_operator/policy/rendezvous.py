"""Does the job need another rendezvous? Pure. Only on evidence: its pod has failed, is going, or is gone."""

from __future__ import annotations

from dataclasses import replace

from trainingjob_operator.policy.wanted import Wanted, rendezvous_pod
from trainingjob_operator.state import Observed


def renewed(seen: Observed, wanted: Wanted) -> Wanted:
    """A higher epoch if the rendezvous of the present one is lost; otherwise it is noted whether its pod has been seen."""
    pod = rendezvous_pod(seen, wanted)
    if pod is not None and not pod.over() and not pod.deleting:
        return replace(wanted, rendezvous_seen=True)
    if pod is None and not wanted.rendezvous_seen:
        return wanted
    return replace(wanted, epoch=wanted.epoch + 1, rendezvous_seen=False)
