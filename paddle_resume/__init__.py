"""A PaddlePaddle trainer whose runs can be killed anywhere and finish bit for bit the same.

What this package offers is named here, and in `paddle_resume.metrics`, `paddle_resume.hapi`, `paddle_resume.loggers`,
`paddle_resume.data`, `paddle_resume.models`, `paddle_resume.errors` and `paddle_resume.testing`; nothing else is
promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paddle_resume._version import __version__
from paddle_resume.environment import prepare_cpu, require_paddle

if TYPE_CHECKING:
    from paddle_resume.builders.parameter_groups import parameter_groups as parameter_groups
    from paddle_resume.builders.parameter_groups import regularize as regularize
    from paddle_resume.builders.registry import register as register
    from paddle_resume.config.loading import load_config as load_config
    from paddle_resume.data.feed import Feed as Feed
    from paddle_resume.data.sampler import ResumableBatchSampler as ResumableBatchSampler
    from paddle_resume.differences import Difference as Difference
    from paddle_resume.inspection.look_inside import LookInside as LookInside
    from paddle_resume.loggers.jsonl import JsonlLogger as JsonlLogger
    from paddle_resume.loggers.log_file import Logger as Logger
    from paddle_resume.loggers.visualdl import VisualDLLogger as VisualDLLogger
    from paddle_resume.lr.warmup import Warmup as Warmup
    from paddle_resume.parallel.world import World as World
    from paddle_resume.rng import RandomStreams as RandomStreams
    from paddle_resume.rng import seed_everything as seed_everything
    from paddle_resume.stateful import Owners as Owners
    from paddle_resume.training.best import Best as Best
    from paddle_resume.training.callbacks import Callback as Callback
    from paddle_resume.training.checkpointer import Checkpointer as Checkpointer
    from paddle_resume.training.divergence import Divergence as Divergence
    from paddle_resume.training.ema import WeightAverage as WeightAverage
    from paddle_resume.training.options import Monitoring as Monitoring
    from paddle_resume.training.options import Processes as Processes
    from paddle_resume.training.options import StepOptions as StepOptions
    from paddle_resume.training.precision import Precision as Precision
    from paddle_resume.training.run_view import RunView as RunView
    from paddle_resume.training.save_schedule import SaveSchedule as SaveSchedule
    from paddle_resume.training.trainer import Trainer as Trainer

require_paddle()
prepare_cpu()

# Loaded when first used, so that importing the package (and `--help`) does not wait for Paddle.
_HOMES = {
    "Best": "training.best",
    "Callback": "training.callbacks",
    "Checkpointer": "training.checkpointer",
    "Difference": "differences",
    "Divergence": "training.divergence",
    "Feed": "data.feed",
    "JsonlLogger": "loggers.jsonl",
    "Logger": "loggers.log_file",
    "LookInside": "inspection.look_inside",
    "Monitoring": "training.options",
    "Owners": "stateful",
    "Precision": "training.precision",
    "Processes": "training.options",
    "RandomStreams": "rng",
    "RunView": "training.run_view",
    "ResumableBatchSampler": "data.sampler",
    "SaveSchedule": "training.save_schedule",
    "StepOptions": "training.options",
    "Trainer": "training.trainer",
    "VisualDLLogger": "loggers.visualdl",
    "Warmup": "lr.warmup",
    "WeightAverage": "training.ema",
    "World": "parallel.world",
    "load_config": "config.loading",
    "parameter_groups": "builders.parameter_groups",
    "register": "builders.registry",
    "regularize": "builders.parameter_groups",
    "seed_everything": "rng",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paddle_resume' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"paddle_resume.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
