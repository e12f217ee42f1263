"""Training: the trainer, its loop, and what goes into a step, a save and an evaluation."""
