"""What a resume may change on purpose: which differences were asked for, and how they are carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Protocol, Union, runtime_checkable

from paddle_resume.checkpoint.restored import Restored
from paddle_resume.checkpoint.resume_errors import Refusal
from paddle_resume.differences import Difference, leading
from paddle_resume.errors import ConfigError
from paddle_resume.lr.ways import REPLAN, WAYS
from paddle_resume.near_names import nearest
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.training.rate_ways import RateWays
from paddle_resume.training.run_view import RunView

# The arguments that may be others from one step to the next; weights and optimizer state still fit.
_CHANGEABLE = (
    "learning_rate", "lr_interval", "lr_metric", "optimizer", "seed", "global_batch_size", "shuffle", "drop_last",
    "accumulate_steps", "train_data", "valid_data", "test_data", "loss",
    "decay", "warmup", "monitor", "mode", "min_delta", "patience",
)  # fmt: skip


@runtime_checkable
class ResumeChanges(Protocol):
    """Decides about differences before a resume, and makes those that were wanted part of the run after it."""

    lr_change: str
    """The way in which a learning rate that is another goes on, one of `lr.ways`."""

    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        """Those that were asked for; the run is as reproducible with them as before."""
        ...

    def explain(self, refusal: Refusal, schedulers: Mapping[str, SchedulerState]) -> str:
        """What is in the way of the resume, and what to give so that it goes on; `schedulers` by owner's name."""
        ...

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """Called after the restore, before the first step."""
        ...


class GivenChanges:
    """The changes that a program asks for with arguments of `Trainer.train`.

    Args:
        allow_change: names of arguments, such as `global_batch_size`, whose values may be others from here on.
        lr_change: how a learning rate that is another goes on, which allows it too; None allows none.

    Raises ConfigError for a name that is not among those which may change.
    """

    def __init__(self, allow_change: Union[str, Sequence[str]] = (), lr_change: Optional[str] = None) -> None:
        names = [allow_change] if isinstance(allow_change, str) else list(allow_change)
        for name in names:
            if name not in _CHANGEABLE:
                like = nearest(str(name), _CHANGEABLE)
                raise ConfigError(
                    f"Trainer.train(allow_change=[{name!r}]): "
                    + (f"did you mean {like!r}?" if like else f"what may change is {', '.join(_CHANGEABLE)}.")
                )
        require_way(lr_change, "Trainer.train(lr_change=)")
        self.lr_change = lr_change or REPLAN
        # Another optimizer has a rate of its own.
        self._names = {*names, *(["learning_rate"] if lr_change or "optimizer" in names else [])}

    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        """Those whose arguments were named, and what follows from them alone."""
        named = [one for one in differences if one.name in self._names]
        keys = [key for one in named if one.scope is not None for key in one.scope.keys]
        return named + [
            one
            for one in differences
            if one.scope is not None and not one.argument and any(one.scope.covers(key) for key in keys)
        ]

    def explain(self, refusal: Refusal, schedulers: Mapping[str, SchedulerState]) -> str:
        """Each difference with its argument, and the arguments of `train` that would let it be."""
        shown = leading(refusal.differences)
        if not all(one.name in _CHANGEABLE or (one.scope is not None and not one.argument) for one in shown):
            return refusal.listed(
                shown,
                "Put them back; or begin another run, under another name or in another save_dir; or go on all the "
                "same, and have the run's lineage say so, with:\n  trainer.train(..., allow_inexact=True)",
                in_python=True,
            )
        names = [one.name for one in [*refusal.changes, *shown] if one.name]
        ways = RateWays(refusal, schedulers)
        given = {f"lr_change={ways.best!r}": ""} if ways.are_many and "learning_rate" in names else {}
        others = sorted({name for name in names if not (given and name == "learning_rate")})
        arguments = [*([f"allow_change={others!r}"] if others else []), *given]
        return refusal.listed(
            shown,
            "Put them back; or go on with the new values from here on, which the run's lineage will tell."
            + (ways.text(lambda way: f"lr_change={way!r}") if given else " ")
            + f"Give to the trainer:\n  trainer.train(..., {', '.join(arguments)})",
            in_python=True,
        )

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """The owner of the schedule has done it."""


def require_way(way: Optional[str], where: str) -> None:
    """Raise ConfigError if `way` is none of those in which a rate can go on."""
    if way is not None and way not in WAYS:
        raise ConfigError(f"{where} is {way!r}; expected {', '.join(WAYS)}.")
