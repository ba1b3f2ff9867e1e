"""A real Kubernetes of two nodes on one Debian machine, for the end-to-end tests: see README.md beside this file."""
