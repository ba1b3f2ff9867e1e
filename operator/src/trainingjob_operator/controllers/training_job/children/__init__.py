"""What a job owns in the cluster, as manifests: one builder a file. Pure: from job, status, settings and identity, nothing else."""
