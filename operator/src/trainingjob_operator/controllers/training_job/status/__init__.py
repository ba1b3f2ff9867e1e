"""What the operator says of a job: phase, conditions, figures, ledger. Pure; it decides nothing."""
