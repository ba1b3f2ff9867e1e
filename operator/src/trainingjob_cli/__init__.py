"""The trainingjob command: run, plan, rollback, checkpoints, predict."""
