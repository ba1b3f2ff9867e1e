"""Which pods are replaced: on evidence, or after long silence; and how many workers there are to be."""

from __future__ import annotations

from typing import Any

import pytest

from operator_builders import make_condition, make_failed, make_job, make_pod, make_rendezvous, make_report, make_seen, make_status
from trainingjob_api.status import Status
from trainingjob_operator.controllers.training_job.policy import rendezvous, replacement, scale
from trainingjob_operator.controllers.training_job.policy.wanted import Wanted
from trainingjob_operator.controllers.training_job.state import Observed, Pod, PodPhase

OTHERS = (make_pod(1), make_pod(2), make_rendezvous())


def lost(pods: tuple[Pod, ...], status: Status | None = None, **fields: Any) -> list[int]:
    seen = make_seen(make_job(status or make_status()), pods=pods, **fields)
    return [loss.index for loss in replacement.losses(seen, Wanted.of(seen.job.status))]


LOSSES = {
    "it runs": ((make_pod(0), *OTHERS), {}, []),
    "it has not started yet": ((make_pod(0, phase=PodPhase.PENDING, reason="Unschedulable"), *OTHERS), {}, []),
    "it failed": ((make_failed(0), *OTHERS), {}, [0]),
    "it ended too early": ((make_failed(0, code=0), *OTHERS), {}, [0]),
    "it is being deleted": ((make_pod(0, deleting=True), *OTHERS), {}, [0]),
    "it is gone": (OTHERS, {}, [0]),
    "it was not made yet": (OTHERS, {"status": make_status(unseen=(0,))}, []),
    "an older incarnation failed": ((make_pod(0), make_failed(0, incarnation=-1), *OTHERS), {}, []),
    "it is silent for long": ((make_pod(0), *OTHERS), {"silent_seconds": {0: 30.0}}, [0]),
    "it is silent for a while": ((make_pod(0), *OTHERS), {"silent_seconds": {0: 29.9}}, []),
    "nobody can say whether it is silent": ((make_pod(0), *OTHERS), {"silent_seconds": {0: 99.0}, "reporting": False}, []),
    "only an older rendezvous can say": ((make_pod(0), *OTHERS), {"silent_seconds": {0: 99.0}, "report": make_report(epoch=0)}, []),
    "its image is pulled slowly": ((make_pod(0, phase=PodPhase.PENDING), *OTHERS), {"silent_seconds": {0: 99.0}}, []),
}


@pytest.mark.parametrize(("pods", "fields", "expected"), LOSSES.values(), ids=LOSSES.keys())
def test_loss(pods: tuple[Pod, ...], fields: dict[str, Any], expected: list[int]) -> None:
    assert lost(pods, **fields) == expected


def test_a_lost_worker_gets_the_next_incarnation_and_the_others_keep_theirs() -> None:
    seen = make_seen(make_job(make_status(unseen=(1,))), pods=(make_failed(0), *OTHERS))
    wanted = Wanted.of(seen.job.status)
    after = replacement.replaced(seen, wanted, replacement.losses(seen, wanted))
    assert (after.incarnations, after.unseen) == (((0, 1), (1, 0), (2, 0)), {0})


EPOCHS = {
    "it runs": ((make_rendezvous(),), True, (1, True)),
    "it starts": ((make_rendezvous(phase=PodPhase.PENDING),), False, (1, True)),
    "it was not made yet": ((), False, (1, False)),
    "it is gone": ((), True, (2, False)),
    "it failed": ((make_rendezvous(phase=PodPhase.FAILED),), True, (2, False)),
    "it is being deleted": ((make_rendezvous(deleting=True),), True, (2, False)),
    "an older one failed": ((make_rendezvous(), make_rendezvous(0, PodPhase.FAILED)), True, (1, True)),
}


@pytest.mark.parametrize(("pods", "before", "expected"), EPOCHS.values(), ids=EPOCHS.keys())
def test_epoch(pods: tuple[Pod, ...], before: bool, expected: tuple[int, bool]) -> None:
    seen = make_seen(make_job(make_status(rendezvous={"epoch": 1, "seen": before})), pods=pods)
    wanted = rendezvous.renewed(seen, Wanted.of(seen.job.status))
    assert (wanted.epoch, wanted.rendezvous_seen) == expected


READY = make_condition("Ready")
SIZES: dict[str, tuple[dict[str, int], dict[str, Any], tuple[tuple[int, int], ...], set[int]]] = {
    "as many as there are": ({"replicas": 3}, {}, ((0, 0), (1, 0), (2, 0)), set()),
    "more": ({"replicas": 4}, {}, ((0, 0), (1, 0), (2, 0), (3, 0)), {3}),
    "fewer: the next one is another one": ({"replicas": 2}, {}, ((0, 0), (1, 0), (2, 1)), {2}),
    "fewer, once": ({"replicas": 2}, {"unseen": (2,), "workers": (0, 0, 1)}, ((0, 0), (1, 0), (2, 1)), {2}),
    "spares wait until the job is ready": ({"replicas": 3, "spares": 1}, {}, ((0, 0), (1, 0), (2, 0)), set()),
    "spares of a ready job": ({"replicas": 3, "spares": 1}, {"conditions": (READY,)}, ((0, 0), (1, 0), (2, 0), (3, 0)), {3}),
}


@pytest.mark.parametrize(("workers", "fields", "incarnations", "unseen"), SIZES.values(), ids=SIZES.keys())
def test_size(workers: dict[str, int], fields: dict[str, Any], incarnations: tuple[tuple[int, int], ...], unseen: set[int]) -> None:
    seen: Observed = make_seen(make_job(make_status(**fields), workers=workers))
    wanted = scale.resized(seen, Wanted.of(seen.job.status))
    assert (wanted.incarnations, wanted.unseen) == (incarnations, unseen)
