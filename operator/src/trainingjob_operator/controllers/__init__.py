"""A folder for each kind of resource: what is observed, planned and done about it."""
