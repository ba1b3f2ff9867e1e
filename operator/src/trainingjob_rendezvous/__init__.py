"""The rendezvous: who is in the generation. Torch-free, kopf-free; outlives every worker."""
