"""The toolbox for checkpoints: one file a command, pure functions that return data, and one place that prints."""
