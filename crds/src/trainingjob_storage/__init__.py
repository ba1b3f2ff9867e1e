"""Reads and writes a job's storage: object stores behind one port, the commit log, checkpoints, retention. Effects."""
