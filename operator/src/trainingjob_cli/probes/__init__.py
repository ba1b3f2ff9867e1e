"""What can be seen of a local job from outside the command that runs it: who runs it, what it prints, whose its storage is."""
