"""The training state: what it consists of, and its ways into shards, out of checkpoints, and from peer to peer."""
