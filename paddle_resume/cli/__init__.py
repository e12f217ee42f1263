"""The console program `paddle-resume`; each `tools/*.py` is a thin door to one of its commands."""

from paddle_resume.cli.app import main

__all__ = ["main"]
