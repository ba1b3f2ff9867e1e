"""The cluster of tests/e2e/cluster, with the product in it."""

from e2e.cluster.conftest import cluster, installed

__all__ = ["cluster", "installed"]
