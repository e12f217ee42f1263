"""What a run may be called: its checkpoints and its curves are files that begin with its name."""

from __future__ import annotations

from paddle_resume.errors import ConfigError


def require_run_name(name: str) -> None:
    """Raise ConfigError for a name with a folder in it: what is saved under it would never be found again."""
    if not name or name.startswith(".") or any(each in name for each in ("/", "\\", "\0")):
        raise ConfigError(
            f"The name of a run is the first part of its files' names, without '/', '\\' or a leading '.'; found "
            f"{name!r}. Give folders with save_dir, such as save_dir='checkpoint/exp', name='run1'."
        )
