"""The cluster port over a folder and local processes: what `trainingjob run` acts on instead of an API server."""
