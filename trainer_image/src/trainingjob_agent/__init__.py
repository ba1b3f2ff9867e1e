"""The agent of a worker: owns its training processes, their memory and their uploads. No torch."""
