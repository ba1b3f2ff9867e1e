"""TrainingJobs in a namespace of the test's own."""

from __future__ import annotations

import pytest

from integration.jobs import Jobs
from integration.rest import Rest


@pytest.fixture
def jobs(rest: Rest, namespace: str) -> Jobs:
    """They, as the admin sees them."""
    return Jobs(rest, namespace)
