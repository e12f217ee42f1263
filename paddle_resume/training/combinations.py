"""Options of a trainer that do not go together, refused by name before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Optional

from paddle_resume.errors import ConfigError, StateError
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.parallel.exchange import SERVER
from paddle_resume.training.divergence import ROLL_BACK, SKIP, Divergence
from paddle_resume.training.options import Processes, StepOptions
from paddle_resume.training.precision import Precision
from paddle_resume.training.save_schedule import SaveSchedule


def require_sure_rollback(divergence: Divergence, schedule: SaveSchedule) -> None:
    """Raise ConfigError where it would hang on the disk's pace which checkpoint a rollback goes back to."""
    if divergence.policy == ROLL_BACK and schedule.on_busy == "skip" and isinstance(schedule.every_steps, int):
        raise ConfigError(
            "trainer.on_nan: rollback goes back to the last checkpoint of checkpoint.every_steps, and "
            "checkpoint.on_busy: skip leaves one out when the disk is slow: two runs would go back to different steps. "
            "Set checkpoint.on_busy: wait, or save with checkpoint.every_steps: auto or every_minutes, to which no "
            "rollback goes back."
        )


def require_checkpoints_kept(back: Optional[int], schedule: SaveSchedule) -> None:
    """Raise ConfigError where no checkpoint so many steps back would be there when a stop has saved another."""
    if back is None or schedule.every_epochs is not None or not isinstance(schedule.every_steps, int):
        return
    needed = math.ceil(back / schedule.every_steps) + 2
    if schedule.keep < needed:
        raise ConfigError(
            f"trainer.check_resume: {back} makes the last {back} steps again at each resume, and checkpoint.keep: "
            f"{schedule.keep} with checkpoint.every_steps: {schedule.every_steps} leaves no checkpoint so far back. "
            f"Set checkpoint.keep to {needed} or more, or trainer.check_resume to less."
        )


def require_elastic_to_fit(processes: Processes, precision: Precision, optimizers: Iterable[Any]) -> None:
    """Raise ConfigError for an elastic run on a mesh, and for what a parameter server cannot do for all."""
    if processes.elastic is not None and processes.mesh is not None:
        raise ConfigError(
            "parallel.elastic cuts batches into shares that any number of processes can take, and parallel.mesh splits "
            "them and the model over a fixed number: leave out one of the two."
        )
    if processes.exchange == SERVER and any(map(is_lbfgs, optimizers)):
        raise ConfigError(
            "LBFGS computes gradients again and again within an update, and with parallel.exchange: server the process "
            "that updates computes none. Set parallel.exchange: pairs, which gives the same bits."
        )
    if processes.exchange == SERVER and precision.scales_loss:
        raise ConfigError(
            "With trainer.amp_dtype: float16 each update settles the scale of the next loss, and with "
            "parallel.exchange: server the processes that compute the losses make no updates. Set "
            "trainer.amp_dtype: bfloat16, or parallel.exchange: pairs, which gives the same bits."
        )


def require_own_step_to_fit(kind: Any, step: StepOptions, divergence: Divergence, processes: Processes) -> None:
    """Raise StateError for what a `train_step` of the user's own cannot be combined with."""
    if kind.train_step is kind.own_train_step:
        return
    if step.accumulate_steps > 1 or divergence.policy == SKIP:
        raise StateError(
            f"{kind.__name__}.train_step makes its updates itself, so accumulate_steps and on_nan='skip' "
            "cannot work with it; override compute_loss instead, or leave them out."
        )
    if processes.elastic is not None:
        raise StateError(
            f"{kind.__name__}.train_step makes its updates itself, and with parallel.elastic the "
            "trainer takes each share of a batch through the model by itself and adds up; "
            "override compute_loss instead, or train without elastic."
        )
    if processes.mesh is not None:
        raise StateError(
            f"{kind.__name__}.train_step would have to shard its batches over the mesh itself; override "
            "compute_loss instead."
        )
