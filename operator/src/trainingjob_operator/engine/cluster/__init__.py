"""All that talks to the API server: calls, copies of objects, writes, the lease. Effects; it knows no kind of resource."""
