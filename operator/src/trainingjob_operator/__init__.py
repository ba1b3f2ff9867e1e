"""The operator: observe, plan (pure), act, for every TrainingJob, over a cluster that is a port."""
