"""The cluster of tests/e2e/cluster, with the product in it, and its jobs."""

import os

from e2e.cluster.conftest import cluster, installed, make, own_cluster, session_make, team

__all__ = ["cluster", "installed", "make", "own_cluster", "session_make", "team"]

collect_ignore = [] if os.environ.get("SOAK_SECONDS") else ["test_no_false_alarm.py"]
"""It takes a machine of its own: `make soak`, of any length with SOAK_SECONDS."""
