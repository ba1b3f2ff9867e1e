"""Who is in the generation: the member table and every decision about it. Pure: no clock, no network, no logging."""
