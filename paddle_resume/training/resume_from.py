"""What a user's `resume` means, before anything is read: a word, or the prefix of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.choose import AUTO
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.errors import ConfigError
from paddle_resume.near_names import nearest

NONE = "none"
_WORDS = (AUTO, BEST, NONE)
_CHOICE = (
    "--resume auto, which need not be said, continues this run if it has a checkpoint; --resume best goes back to its "
    "best; --resume none starts over; --resume checkpoint/model_epoch0 names one by its prefix"
)


def resume_from(resume: Any, engine: CheckpointEngine) -> str:
    """`auto`, `none`, or a prefix; raises ConfigError for what is none of them."""
    if isinstance(resume, Path):
        return str(resume)
    if not isinstance(resume, str) or not resume:
        raise ConfigError(f"Trainer.train(resume={resume!r}): {_CHOICE}.")
    if resume == BEST:
        return str(engine.prefix(BEST))
    like = nearest(resume, _WORDS) if "/" not in resume and not Path(f"{resume}.pdparams").exists() else None
    if like is not None and resume not in _WORDS and not Path(resume).exists():
        raise ConfigError(f"There is no checkpoint {resume}; did you mean {like}? {_CHOICE}.")
    return resume
