"""What the measurements of training share: one workload for both sides, our job around it, and a place to work in."""
