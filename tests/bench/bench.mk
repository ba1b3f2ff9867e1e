# Measurements, each beside a peer: minutes each, and the machine should have nothing else to do.
BENCH := PYTHONPATH=tests python -m bench
.PHONY: bench bench-table
bench: setup ## Measure everything beside its peers; figures to build/bench
	@$(BENCH)
bench-table: setup ## Put the measured figures into docs/benchmarks.md
	@$(BENCH) table
bench-%: setup
	@$(BENCH) $*
