"""The logs that a run has if nothing is said of them: VisualDL's, and the same figures as JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

from paddle_resume.loggers import JsonlLogger, Logger, VisualDLLogger

AUTO = "auto"
SAVE_DIR = "checkpoint"


def logs_of(
    logger: Union[Logger, Sequence[Logger], str, None],
    log_dir: Union[str, Path, None],
    save_dir: Union[str, Path],
    name: str,
) -> list[Logger]:
    """The loggers that `logger` means; for `auto` those in the folder `<log_dir>/<name>`.

    Without a `log_dir` that is `log` for the usual folder of checkpoints, and in any other it lies there: runs of one
    name whose checkpoints lie apart are different runs.
    """
    if logger == AUTO:
        usual = Path("log") if Path(save_dir) == Path(SAVE_DIR) else Path(save_dir) / "log"
        folder = (usual if log_dir is None else Path(log_dir)) / name
        return [VisualDLLogger(folder, name), JsonlLogger(folder)]
    if logger is None:
        return []
    return [logger] if isinstance(logger, Logger) else list(logger)  # type: ignore[arg-type]
