"""The controller of TrainingJobs: observe, plan (pure), act."""
