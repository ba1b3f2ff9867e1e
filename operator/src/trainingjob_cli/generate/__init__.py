"""The generated files: the definition, its reference, and the charts' parts that follow from the models."""
