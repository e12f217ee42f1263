"""A PaddlePaddle trainer whose runs can be killed anywhere and finish bit for bit the same.

What this package offers is named here, and in `paddle_resume.metrics`, `paddle_resume.hapi`, `paddle_resume.loggers`,
`paddle_resume.data`, `paddle_resume.models`, `paddle_resume.errors`, `paddle_resume.testing`, `paddle_resume.toolbox`
and `paddle_resume.convert`; nothing else is promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paddle_resume._lazy import loader
from paddle_resume._version import __version__
from paddle_resume.environment import prepare_cpu, require_paddle, require_supported_system
from paddle_resume.translations import print_uncaught_in_language
from paddle_resume.translations import set_language as set_language

if TYPE_CHECKING:
    from paddle_resume.builders.model import build_model as build_model
    from paddle_resume.builders.optimizer import build_optimizer as build_optimizer
    from paddle_resume.builders.parameter_groups import ClipAcrossGroups as ClipAcrossGroups
    from paddle_resume.builders.parameter_groups import parameter_groups as parameter_groups
    from paddle_resume.builders.parameter_groups import regularize as regularize
    from paddle_resume.builders.registry import register as register
    from paddle_resume.checkpoint.sharded_owners import sharded_owners as sharded_owners
    from paddle_resume.config.loading import load_config as load_config
    from paddle_resume.config.mesh import MeshConfig as MeshConfig
    from paddle_resume.config.mesh import SplitConfig as SplitConfig
    from paddle_resume.data.feed import Feed as Feed
    from paddle_resume.data.sampler import ResumableBatchSampler as ResumableBatchSampler
    from paddle_resume.differences import Difference as Difference
    from paddle_resume.environment import Environment as Environment
    from paddle_resume.inspection.look_inside import LookInside as LookInside
    from paddle_resume.loggers.jsonl import JsonlLogger as JsonlLogger
    from paddle_resume.loggers.log_file import Logger as Logger
    from paddle_resume.loggers.visualdl import VisualDLLogger as VisualDLLogger
    from paddle_resume.lr.warmup import Warmup as Warmup
    from paddle_resume.parallel.mesh import DeviceMesh as DeviceMesh
    from paddle_resume.parallel.per_rank import PerRank as PerRank
    from paddle_resume.parallel.world import World as World
    from paddle_resume.rng import RandomStreams as RandomStreams
    from paddle_resume.rng import seed_everything as seed_everything
    from paddle_resume.stateful import Owners as Owners
    from paddle_resume.supervision.heartbeat import Heartbeat as Heartbeat
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

require_supported_system()
require_paddle()
prepare_cpu()
print_uncaught_in_language()

# Loaded when first used, so that importing the package (and `--help`) does not wait for Paddle.
_HOMES = {
    "Best": "training.best",
    "Callback": "training.callbacks",
    "Checkpointer": "training.checkpointer",
    "ClipAcrossGroups": "builders.parameter_groups",
    "DeviceMesh": "parallel.mesh",
    "Difference": "differences",
    "Divergence": "training.divergence",
    "Environment": "environment",
    "Feed": "data.feed",
    "Heartbeat": "supervision.heartbeat",
    "JsonlLogger": "loggers.jsonl",
    "Logger": "loggers.log_file",
    "LookInside": "inspection.look_inside",
    "MeshConfig": "config.mesh",
    "Monitoring": "training.options",
    "Owners": "stateful",
    "PerRank": "parallel.per_rank",
    "Precision": "training.precision",
    "Processes": "training.options",
    "RandomStreams": "rng",
    "ResumableBatchSampler": "data.sampler",
    "RunView": "training.run_view",
    "SaveSchedule": "training.save_schedule",
    "SplitConfig": "config.mesh",
    "StepOptions": "training.options",
    "Trainer": "training.trainer",
    "VisualDLLogger": "loggers.visualdl",
    "Warmup": "lr.warmup",
    "WeightAverage": "training.ema",
    "World": "parallel.world",
    "build_model": "builders.model",
    "build_optimizer": "builders.optimizer",
    "load_config": "config.loading",
    "parameter_groups": "builders.parameter_groups",
    "register": "builders.registry",
    "regularize": "builders.parameter_groups",
    "seed_everything": "rng",
    "sharded_owners": "checkpoint.sharded_owners",
}
__all__ = [*_HOMES, "__version__", "set_language"]
__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
