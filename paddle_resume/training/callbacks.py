"""The points of a run at which other code may look in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddle_resume.stateful import Stateful

if TYPE_CHECKING:
    from paddle_resume.training.trainer import Trainer


class Callback:
    """Derive from this and override what you need; give the object to `Trainer(callbacks=[...])`.

    The order of the calls:

        on_train_begin                      after the resume
        while epochs are left:
            on_epoch_begin
            for each batch:
                on_step_begin
                on_step_end                 after the optimizer, the scheduler and the metrics
                on_log                      every `log_every` steps, and at the end of the epoch
                on_save                     if a step checkpoint was due
            on_epoch_end                    before the epoch's checkpoint is saved, so that it holds what changes
            on_save
            on_evaluate_begin
            on_evaluate_step                after each batch
            on_evaluate_end
        on_train_end                        also after an error or an interruption

    A callback that has `state_dict()` and `set_state_dict(state)` is saved and restored with the run, as
    `callback.<its class name>`. Callbacks may draw random numbers: those generators are part of the run.
    """

    only_watches = False
    """Whether no training depends on it: a config may then add, change or remove it from one start to the next."""

    def on_train_begin(self, trainer: Trainer) -> None: ...

    def on_train_end(self, trainer: Trainer) -> None: ...

    def on_epoch_begin(self, trainer: Trainer) -> None: ...

    def on_epoch_end(self, trainer: Trainer) -> None: ...

    def on_step_begin(self, trainer: Trainer) -> None: ...

    def on_step_end(self, trainer: Trainer) -> None: ...

    def on_log(self, trainer: Trainer, scalars: dict[str, float]) -> None: ...

    def on_save(self, trainer: Trainer, prefix: Path) -> None: ...

    def on_evaluate_begin(self, trainer: Trainer, split: str) -> None: ...

    def on_evaluate_step(self, trainer: Trainer) -> None: ...

    def on_evaluate_end(self, trainer: Trainer, split: str, results: dict[str, float]) -> None: ...

    def on_message(self, trainer: Trainer, text: str) -> None:
        """Something a person should know: a failed save, a checkpoint passed over, how to continue."""


class Hooks:
    """Calls the hooks of several callbacks; those that a callback does not override cost nothing at each step."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        names = [name for name in vars(Callback) if name.startswith("on_")]
        self._methods = {
            name: [getattr(c, name) for c in callbacks if getattr(type(c), name) is not getattr(Callback, name)]
            for name in names
        }

    def call(self, hook: str, trainer: Trainer, *args: Any) -> None:
        for method in self._methods[hook]:
            method(trainer, *args)

    def has(self, hook: str) -> bool:
        """Whether any callback overrides `hook`."""
        return bool(self._methods[hook])


def stateful(callbacks: Sequence[Callback]) -> list[tuple[str, Stateful]]:
    """The callbacks that own state, each with its name as an owner."""
    return [(f"callback.{type(c).__name__}", c) for c in callbacks if isinstance(c, Stateful)]
