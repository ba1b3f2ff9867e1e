"""Reads what a user writes: YAML as kubectl reads it, and `--set` as Helm does."""
