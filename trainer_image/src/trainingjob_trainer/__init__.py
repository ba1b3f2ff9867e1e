"""The training process: task, data, model, strategy, loop, checkpoint, export."""
