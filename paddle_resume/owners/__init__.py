"""The owners of what Paddle itself does not hand over whole: model, optimizer and LR scheduler."""
