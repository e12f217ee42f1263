"""What goes on inside a model: its layers, their values, and a callback that logs both while it trains."""

from paddle_resume.inspection.look_inside import LookInside

__all__ = ["LookInside"]
