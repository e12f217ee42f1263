"""Where a fit stands: its epoch, the batch in it, what comes next, and what `paddle.Model` notes as it goes."""

from __future__ import annotations

from typing import Any, Callable, Optional

from paddle_resume.checkpoint.phases import EVALUATE, TRAIN
from paddle_resume.differences import Difference, compare_fields


class Position:
    """Owner of the counters of a fit, of its request to stop, and of the values it showed last.

    It is the first owner to be restored. `begin_epoch` is called then, with an epoch that had begun, so that whatever
    the callbacks make ready there is in place, and all state is restored on top of it.
    """

    def __init__(self, model: Any, begin_epoch: Callable[[int], None]) -> None:
        self._model = model
        self._begin_epoch = begin_epoch
        self.epoch = 0
        """The epoch that `fit` is in, or goes to next; counted from 0."""
        self.batch = 0
        """Batches of that epoch that were trained on."""
        self.batches = 0
        """Batches of all epochs."""
        self.step = 0
        """Optimizer updates: the same, unless gradients are accumulated."""
        self.phase = TRAIN
        """`train`, `evaluate` (the epoch's training is over) or `done`."""
        self.stop = False
        """Whether something has asked to stop after this epoch."""
        self.logs: dict[str, Any] = {}
        """What `fit` hands to callbacks: the last loss and metrics."""
        self._given = {"accumulate_grad_batches": model._accumulate, "num_iters": model.num_iters}

    @property
    def has_begun(self) -> bool:
        """Whether `on_epoch_begin` has been called for this epoch."""
        return self.batch > 0 or self.phase == EVALUATE

    @property
    def last_epoch(self) -> int:
        """The epoch under way or, between two, the one just finished."""
        return self.epoch if self.has_begun else self.epoch - 1

    def ask_to_stop(self) -> None:
        """Ask `fit` for what had been asked of it before; too early, it would stop in an epoch made long ago."""
        self._model.stop_training, self.stop = self.stop, False

    def made_batch(self, last: bool) -> bool:
        """Count a batch; returns whether it completed an update, as `fit` sees it. `last`: it ends the epoch."""
        self.batch += 1
        self.batches += 1
        updated = last or self.batch % self._model._accumulate == 0
        self.step += updated
        return updated

    def finish_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch += 1
        self.batch = 0
        self.phase = TRAIN

    def state_dict(self) -> dict[str, Any]:
        counters = {name: getattr(self, name) for name in ("epoch", "batch", "batches", "step", "phase")}
        return {
            **counters,
            "stop": self._model.stop_training or self.stop,
            "iterations_left": self._iterations_left,
            "given": self._given,
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("epoch", "batch", "batches", "step", "phase", "stop"):
            setattr(self, name, state[name])
        self._model.stop_training = False
        self._model.num_iters = state["iterations_left"]
        if self.has_begun:
            self._begin_epoch(self.epoch)

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return compare_fields("fit {}", state["given"], self._given)

    @property
    def _iterations_left(self) -> Optional[int]:
        # Paddle deletes the attribute when none is left.
        return getattr(self._model, "num_iters", None)
