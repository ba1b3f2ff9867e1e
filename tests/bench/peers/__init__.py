"""The peers of what trains: plain scripts, each run as its own users run it."""
