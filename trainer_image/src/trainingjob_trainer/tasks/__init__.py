"""The tasks that come with the trainer; each is an example of how to write one."""
