"""Checkpoints: what is in one, how it is committed, found, verified and restored."""

from paddle_resume.checkpoint.checkpointer import Checkpointer, Restored

__all__ = ["Checkpointer", "Restored"]
