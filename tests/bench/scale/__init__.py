"""A cluster without machines, operators in it, and loads for them: what the measurements of the operator share."""
