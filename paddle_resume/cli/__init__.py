"""The console program `paddle-resume`; each `tools/*.py` is a thin door to one of its commands."""

from paddle_resume.cli import (  # noqa: F401 (their commands join those of app)
    convert_command,
    merge_command,
    picture_commands,
    run_commands,
    toolbox_commands,
)
from paddle_resume.cli.app import app, main
from paddle_resume.cli.help_examples import attach_examples

attach_examples(app)

__all__ = ["main"]
