"""One pass over one job: observe, plan, act. Effect; every trigger comes here, and none of them matters to it."""

from __future__ import annotations

from datetime import datetime

from trainingjob_operator.controllers.training_job.plan import plan
from trainingjob_operator.controllers.training_job.settings import Settings
from trainingjob_operator.controllers.training_job.state import Cluster, JobKey


async def reconcile(cluster: Cluster, key: JobKey, settings: Settings, now: datetime) -> float | None:
    """Bring the job closer to what is wanted.

    Returns:
        Seconds until the next pass, or None if only an event calls for one, or the job is gone.

    Raises:
        Whatever the cluster raises; the queue tries again.
    """
    seen = await cluster.observe(key)
    if seen is None:
        return None
    decided = plan(seen, settings, now)
    await cluster.act(key, seen, decided)
    return decided.requeue_after
