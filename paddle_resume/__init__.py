"""A PaddlePaddle trainer whose runs can be killed anywhere and finish bit for bit the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paddle_resume._version import __version__
from paddle_resume.environment import prepare_cpu, require_paddle

if TYPE_CHECKING:
    from paddle_resume.callbacks import Callback as Callback
    from paddle_resume.checkpoint import Checkpointer as Checkpointer
    from paddle_resume.data.feed import Feed as Feed
    from paddle_resume.inside import LookInside as LookInside
    from paddle_resume.rng import RandomStreams as RandomStreams
    from paddle_resume.rng import seed_everything as seed_everything
    from paddle_resume.trainer import Trainer as Trainer

require_paddle()
prepare_cpu()

# Loaded when first used, so that importing the package (and `--help`) does not wait for Paddle.
_PUBLIC = {
    "Callback": "paddle_resume.callbacks",
    "Checkpointer": "paddle_resume.checkpoint",
    "Feed": "paddle_resume.data.feed",
    "LookInside": "paddle_resume.inside",
    "RandomStreams": "paddle_resume.rng",
    "Trainer": "paddle_resume.trainer",
    "seed_everything": "paddle_resume.rng",
}
__all__ = [
    "Callback",
    "Checkpointer",
    "Feed",
    "LookInside",
    "RandomStreams",
    "Trainer",
    "__version__",
    "seed_everything",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paddle_resume' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)
