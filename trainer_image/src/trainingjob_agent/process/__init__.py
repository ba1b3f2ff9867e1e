"""The process slots of a worker: how their processes start, speak, print and end, and when the next life starts."""
