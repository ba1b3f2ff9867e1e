"""What a manifest may change of a job that exists already, and what the options of `run` change of a manifest. Pure."""

from __future__ import annotations

from trainingjob_api.crd.mutability import refused
from trainingjob_api.spec.job import JobSpec
from trainingjob_operator.local.jobs import Spec

_ONCE = "rollback"
"""Asked for by a command, so a file without it does not take it back."""


class ChangeRefusedError(ValueError):
    """The manifest differs from the job in a field that cannot change."""


def updated(stored: Spec, wanted: Spec, name: str, *, complete: bool = False) -> Spec:
    """The spec of a job that has `stored` and is to have `wanted`. One that is `complete` may be made longer.

    Raises:
        ChangeRefusedError: a field differs that cannot change now; the message names it, as the API server's would.
    """
    problems = refused(JobSpec.model_validate(stored), JobSpec.model_validate(wanted), complete=complete)
    if problems:
        lines = [f"job {name} was started with another manifest:", *(f"  {problem}" for problem in problems)]
        anew = f"Put it back; or start anew, which deletes what it has stored: --fresh, or trainingjob delete {name} --storage"
        raise ChangeRefusedError("\n".join([*lines, anew]))
    kept = stored.get(_ONCE) if wanted.get(_ONCE) is None else wanted[_ONCE]
    return {**{field: value for field, value in wanted.items() if field != _ONCE}, **({} if kept is None else {_ONCE: kept})}


def with_options(spec: Spec, workers: int | None, storage: str | None) -> tuple[Spec, list[str]]:
    """The spec with the options of `run` over it, and a note on each field that had to change beside them."""
    notes = []
    changed = dict(spec)
    if workers is not None:
        seats = {**changed.get("workers", {}), "replicas": workers}
        minimum = seats.get("minReplicas")
        if minimum is not None and minimum > workers:
            notes.append(f"workers.minReplicas is lowered from {minimum} to {workers}, since --workers is {workers}")
            seats["minReplicas"] = workers
        changed["workers"] = seats
    if storage is not None:
        checkpoint = changed.get("checkpoint", {})
        changed["checkpoint"] = {**checkpoint, "storage": {**checkpoint.get("storage", {}), "uri": storage}}
    return changed, notes
