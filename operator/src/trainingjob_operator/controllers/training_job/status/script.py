"""What is said of a job that runs a script of the user's own. Pure.

It runs while its processes do. Its steps, checkpoints and model are its own: nothing is known of them.
"""

from __future__ import annotations

from trainingjob_api.contract.intent import Report
from trainingjob_api.contract.messages import Phase
from trainingjob_api.resource import TrainingJob
from trainingjob_operator.controllers.training_job.ledger import Ledger, Row
from trainingjob_operator.controllers.training_job.ledger import goodput as share
from trainingjob_operator.controllers.training_job.status.storage import kept_words

_RUNNING = (Phase.STEPPING.value, Phase.FINISHING.value)
"""Its process runs; it has ended with 0 and the others run."""


def is_script(job: TrainingJob) -> bool:
    """Whether the job runs a script, not a task."""
    return job.spec.training.script is not None


def runs(report: Report) -> bool:
    """Whether a process of the script runs. A report too long for views of members says only that there is a generation."""
    return not report.members or any(member.phase in _RUNNING for member in report.members)


def goodput(job: TrainingJob, ledger: Ledger) -> str:
    """Return the job's goodput; of a script there is none, since its steps are not known."""
    return "" if is_script(job) else share(ledger)


def busy_row(job: TrainingJob) -> Row:
    """Return the ledger's row of the time in which the job is Running."""
    return Row.RUNNING if is_script(job) else Row.TRAINING


def working(ready: bool, workers: int, wanted: int) -> str:
    """Return the Ready condition's message."""
    return f"the script runs on {workers} of {wanted} workers" if ready else "the script does not run"


def stopped_words(job: TrainingJob) -> str:
    """Return what a job that has stopped has in storage; of a script's nothing is known."""
    if is_script(job):
        return "the script has ended; what it saved is its own"
    return kept_words(job.status.step, job.status.checkpoint)
