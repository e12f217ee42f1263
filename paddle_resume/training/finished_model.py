"""Writes the finished weights of a run: the last or the best, and of those the average if that is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional

import paddle

from paddle_resume.checkpoint.finished_weights import save_best_weights, write_weights
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World
from paddle_resume.stateful import HasFile
from paddle_resume.storage.durable_files import require_room
from paddle_resume.training.best import Best
from paddle_resume.training.progress import Progress


class FinishedModel:
    """The file of the finished weights.

    Args:
        path: where it goes; None writes none.
        weights: the owner of the weights that are written.
        best: if its `final` is `best`, those of the checkpoint `best_prefix` are written, once `settle` has finished
            the save under way.
        mesh: on which the model is split, if it is.
        progress: says whether the best evaluation is that of the step where the run stands, whose weights these are.
    """

    def __init__(
        self,
        path: Optional[Path],
        model: paddle.nn.Layer,
        weights: Optional[HasFile],
        *,
        best: Optional[Best],
        best_prefix: Path,
        settle: Callable[[], None],
        world: World,
        mesh: Optional[DeviceMesh],
        progress: Progress,
    ) -> None:
        self._path = path
        self._model = model
        self._weights = weights
        self._best = best
        self._best_prefix = best_prefix
        self._settle = settle
        self._world = world
        self._mesh = mesh
        self._progress = progress

    @property
    def is_missing(self) -> bool:
        """Whether it is wanted and not there."""
        return self._path is not None and not self._path.exists()

    def require_writable(self) -> None:
        """Raise SaveError where it could not be written, or there is no room for it; leaves nothing behind."""
        if self._path is not None and self._world.is_main:
            size = sum(int(one.size) * one.element_size() for one in self._model.state_dict().values())
            require_room(self._path, size, key="run.model_path")

    def write(self) -> None:
        """Write it whole, or leave the old one as it was; raises SaveError, and CheckpointError for a bad best one."""
        if self._path is None:
            return
        if self._mesh is not None:
            weights = self._mesh.unsharded_weights(self._model)  # Every process takes part.
            if self._world.is_main:
                write_weights(weights, self._path)
        elif self._world.is_main:
            assert self._weights is not None
            if self._is_another_best:
                self._settle()
                save_best_weights(self._best_prefix, self._weights.suffix, self._path)
            else:
                write_weights(self._weights.state_dict(), self._path)

    @property
    def _is_another_best(self) -> bool:
        """Whether the weights that are wanted are those of an earlier step."""
        best = self._best
        return best is not None and best.final == "best" and best.step not in (None, self._progress.step)
