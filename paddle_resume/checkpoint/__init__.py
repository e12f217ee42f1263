"""Checkpoints: what is in one, how it is committed, found, verified and restored."""
