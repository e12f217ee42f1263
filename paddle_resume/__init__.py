"""A PaddlePaddle trainer whose runs can be killed anywhere and finish bit for bit the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paddle_resume._version import __version__
from paddle_resume.environment import prepare_cpu, require_paddle

if TYPE_CHECKING:
    from paddle_resume.checkpoint.checkpointer import Checkpointer as Checkpointer
    from paddle_resume.data.feed import Feed as Feed
    from paddle_resume.inspection.look_inside import LookInside as LookInside
    from paddle_resume.lr.warmup import Warmup as Warmup
    from paddle_resume.rng import RandomStreams as RandomStreams
    from paddle_resume.rng import seed_everything as seed_everything
    from paddle_resume.training.best import Best as Best
    from paddle_resume.training.callbacks import Callback as Callback
    from paddle_resume.training.divergence import Divergence as Divergence
    from paddle_resume.training.ema import WeightAverage as WeightAverage
    from paddle_resume.training.precision import Precision as Precision
    from paddle_resume.training.trainer import Trainer as Trainer

require_paddle()
prepare_cpu()

# Loaded when first used, so that importing the package (and `--help`) does not wait for Paddle.
_PUBLIC = {
    "Best": "paddle_resume.training.best",
    "Callback": "paddle_resume.training.callbacks",
    "Checkpointer": "paddle_resume.checkpoint.checkpointer",
    "Divergence": "paddle_resume.training.divergence",
    "Feed": "paddle_resume.data.feed",
    "LookInside": "paddle_resume.inspection.look_inside",
    "Precision": "paddle_resume.training.precision",
    "RandomStreams": "paddle_resume.rng",
    "Trainer": "paddle_resume.training.trainer",
    "Warmup": "paddle_resume.lr.warmup",
    "WeightAverage": "paddle_resume.training.ema",
    "seed_everything": "paddle_resume.rng",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paddle_resume' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)
