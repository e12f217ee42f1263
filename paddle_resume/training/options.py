"""What else a Trainer can be told, grouped by purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Optional, Union

from paddle_resume.checked_arguments import AT_LEAST_ONE, Rule, checked_class, one_of
from paddle_resume.errors import ConfigError
from paddle_resume.lr.stepper import EPOCH, STEP
from paddle_resume.near_names import nearest
from paddle_resume.parallel.exchange import KINDS, PAIRS
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.shares import is_power_of_two
from paddle_resume.parallel.world import World
from paddle_resume.training.best import Best
from paddle_resume.training.divergence import POLICIES, STOP, Divergence
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.precision import Precision

_ON_NAN = Rule(
    f"a Divergence or {one_of(*POLICIES).expected}",
    lambda value: isinstance(value, Divergence) or value in POLICIES,
    one_of(*POLICIES).advice,
)
_SHARES = Rule("a power of two, the number of shares into which every batch is cut, such as 4", is_power_of_two)
_MONITORED = Rule('a metric with its split, such as "valid/loss"', lambda value: "/" in value.strip("/"))


@checked_class(accumulate_steps=AT_LEAST_ONE, lr_interval=one_of(STEP, EPOCH), lr_metric=_MONITORED, on_nan=_ON_NAN)
@dataclass(frozen=True)
class StepOptions:
    """How a step is made.

    Args:
        accumulate_steps: batches whose gradients make up one step.
        lr_interval: whether LR schedulers step after each `step` or each `epoch`. A ReduceOnPlateau steps after
            each evaluation instead, by `lr_metric`, such as `valid/loss`.
        precision: mixed precision; None computes in float32.
        on_nan: what a loss that is NaN or infinite does: `stop` raises NonFiniteLossError before anything of it is
            saved; `skip`, `rollback`, `ignore`: see `Divergence`, which can be given itself.
    """

    accumulate_steps: int = 1
    lr_interval: str = STEP
    lr_metric: str = "valid/loss"
    precision: Optional[Precision] = None
    on_nan: Union[str, Divergence] = STOP


@checked_class(log_every=AT_LEAST_ONE, evaluate_every=AT_LEAST_ONE, check_resume=AT_LEAST_ONE)
@dataclass(frozen=True)
class Monitoring:
    """What is measured, when, and which weights count.

    Args:
        log_every: steps between two log records, each the mean since the one before.
        evaluate_every: steps between two evaluations; None evaluates after each epoch.
        ema: an average of the weights, kept in a `.pdema` beside each checkpoint.
        best: which evaluation counts as the best, whose checkpoint `<save_dir>/<name>_best` is kept; may stop early.
        check_resume: go back this many steps at each resume, or as far as there are checkpoints, to make them again
            and compare; None goes back no further than needed, and compares what it makes again.
    """

    log_every: int = 100
    evaluate_every: Optional[int] = None
    ema: Optional[WeightAverage] = None
    best: Optional[Best] = None
    check_resume: Optional[int] = None


@checked_class(elastic=_SHARES, exchange=one_of(*KINDS))
@dataclass(frozen=True)
class Processes:
    """Which processes train together, and how they share the work.

    Args:
        world: the processes; None: those that `python -m paddle.distributed.launch` started.
        mesh: on which `model` and `optimizer` are split over the processes; None: each process has all of both, and
            they share the batches.
        elastic: cut every batch into so many shares, a power of two, for the same bits on 1, 2, 4, ... processes, also
            when their number changes; None: the number of processes is part of the run.
        exchange: how elastic processes add up, `pairs`, `halving` or `server` (rank 0 is a parameter server); the
            bits are the same.
    """

    world: Optional[World] = None
    mesh: Optional[DeviceMesh] = None
    elastic: Optional[int] = None
    exchange: str = PAIRS


_GROUPS = {
    "step": ("StepOptions", ("accumulate_steps", "lr_interval", "lr_metric", "precision", "on_nan")),
    "monitoring": ("Monitoring", ("log_every", "evaluate_every", "ema", "best", "check_resume")),
    "schedule": (
        "SaveSchedule",
        ("keep", "keep_epochs", "background", "every_epochs", "every_steps", "every_minutes", "on_error", "on_busy"),
    ),
    "processes": ("Processes", ("world", "mesh", "elastic", "exchange")),
}

_RENAMED = {"batch_size": "global_batch_size"}


def refuse_unknown(arguments: Mapping[str, Any], known: Mapping[str, Any], of_train: Mapping[str, Any]) -> NoReturn:
    """Raise ConfigError for an argument that Trainer does not have, with the place where it belongs."""
    name = next(iter(arguments))
    for group, (kind, members) in _GROUPS.items():
        if name in members:
            raise ConfigError(f"Trainer({name}=...) belongs to a group: write Trainer({group}={kind}({name}=...)).")
    if name == "evaluate_ema":
        raise ConfigError("Trainer(evaluate_ema=...) belongs to the average: write WeightAverage(evaluate=...).")
    renamed = _RENAMED.get(name, name)
    if renamed in of_train:
        raise ConfigError(f"Trainer({name}=...) belongs to the training: write trainer.train(..., {renamed}=...).")
    like = nearest(name, [one for one in known if one not in ("unknown", "return")])
    raise ConfigError(f"Trainer has no argument {name}={f'; did you mean {like}=?' if like else '.'}")
