"""The cluster of tests/e2e/cluster, with the product in it, and its jobs."""

from e2e.cluster.conftest import cluster, installed, make, own_cluster, session_make, team

__all__ = ["cluster", "installed", "make", "own_cluster", "session_make", "team"]
