"""Measurements, each beside a peer in the same run: `make bench`, `make bench-NAME`; the figures are in docs/benchmarks.md."""
