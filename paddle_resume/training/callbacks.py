"""The points of a run at which other code may look in."""

from __future__ import annotations

from pathlib import Path

from paddle_resume.training.run_view import RunView


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

    What a callback holds is found, saved and restored with the run; one that has `state_dict()` and
    `set_state_dict(state)` by these, as `callback.<its class name>`. Callbacks may draw random numbers: those
    generators are part of the run. On a resume, what `on_train_begin` changes is taken back.
    """

    only_watches = False
    """Whether no training depends on it: it is not looked into for state, and a config may add, change or remove it
    from one start to the next."""

    def on_train_begin(self, trainer: RunView) -> None: ...

    def on_train_end(self, trainer: RunView) -> None: ...

    def on_epoch_begin(self, trainer: RunView) -> None: ...

    def on_epoch_end(self, trainer: RunView) -> None: ...

    def on_step_begin(self, trainer: RunView) -> None: ...

    def on_step_end(self, trainer: RunView) -> None: ...

    def on_log(self, trainer: RunView, scalars: dict[str, float]) -> None: ...

    def on_save(self, trainer: RunView, prefix: Path) -> None: ...

    def on_evaluate_begin(self, trainer: RunView, split: str) -> None: ...

    def on_evaluate_step(self, trainer: RunView) -> None: ...

    def on_evaluate_end(self, trainer: RunView, split: str, results: dict[str, float]) -> None: ...

    def on_message(self, trainer: RunView, text: str) -> None:
        """Something a person should know: a failed save, a checkpoint passed over, how to continue."""
