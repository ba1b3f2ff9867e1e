"""The cluster port over an API server: the only package of the operator that talks to one. Effects; it decides nothing about a job."""
