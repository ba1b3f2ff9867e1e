"""The operator as a program: kopf's events in, the queue around the passes, probes and metrics. Effects."""
