"""The cluster of tests/e2e/cluster, with the product in it, and its jobs."""

import os

from e2e.cluster.conftest import cluster, installed, make, own_cluster, session_make, slow, team, undisturbed

__all__ = ["cluster", "installed", "make", "own_cluster", "session_make", "slow", "team", "undisturbed"]

collect_ignore = [] if os.environ.get("SOAK_SECONDS") else ["test_operator_deaths.py"]
"""It takes a quarter of an hour, and its faults are those of tests/integration/operator/test_deaths.py: `make soak`."""
