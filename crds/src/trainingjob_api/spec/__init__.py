"""What a user asks for: the models of a TrainingJob's `spec`."""
