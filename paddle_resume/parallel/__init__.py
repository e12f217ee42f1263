"""Training with several processes: who takes part, what they exchange, and which share of a batch is whose."""

from paddle_resume.parallel.world import World

__all__ = ["World"]
