"""How the work of a step is spread over the ranks: a port, and DataParallel behind it."""
