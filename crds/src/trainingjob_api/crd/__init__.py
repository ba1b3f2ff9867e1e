"""The custom resource definition and the API reference, generated from the models."""
