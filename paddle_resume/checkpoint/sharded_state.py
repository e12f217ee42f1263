"""Owner of a model and its optimizer on a mesh: each process writes its part, by Paddle's `save_state_dict`.

It is one more owner, under the name of `shard_folder.OWNER`, in place of those of the model and the optimizer. Its
state in the record names the files, with sizes and digests; the tensors are in them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle

from paddle_resume.checkpoint.merge_shards import MODEL, OPTIMIZER
from paddle_resume.checkpoint.shard_folder import ShardFolder, next_folder
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import CheckpointError, SaveError, StateError
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.tensor_views import fill, local_part, view
from paddle_resume.parallel.mesh import region
from paddle_resume.parallel.world import World
from paddle_resume.storage.distcp import METADATA, Target, fill_targets
from paddle_resume.storage.durable_files import DISK, FileSystem, explain, make_folder, size_and_digest

_DIST = ".dist"  # What Paddle puts after the name of a parameter that it shards.


class ShardedState:
    """Owner of the model's and the optimizer's tensors, of which every process holds a part.

    Args:
        model, optimizer: as `DeviceMesh` has sharded them.
        save_dir, name: those of the run's Checkpointer; a folder that every node sees.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: Any,
        *,
        save_dir: str | Path,
        name: str,
        world: World,
        disk: FileSystem = DISK,
    ) -> None:
        self._model = model
        self._names = ParameterNames(model)
        self._optimizer = OptimizerState(optimizer, self._names)
        self._folder = Path(save_dir)
        self._name = name
        self._world = world
        self._disk = disk
        self._entry: dict[str, Any] = {}

    def prepare_save(self) -> None:
        """Write this process's part; afterwards the parts of all are durable.

        To be called by all processes. Raises SaveError in all of them if one cannot write.
        """
        folder = self._world.broadcast_object(self._fresh_folder() if self._world.is_main else None)
        if isinstance(folder, SaveError):
            raise folder
        with _without_chatter():
            written = self._write(self._folder / folder)
        files = self._collected(self._folder / folder, written)
        names = self._names.state_dict().items()
        self._entry = {
            "folder": folder,
            "files": files,
            "names": {structured: name[: -len(_DIST)] if name.endswith(_DIST) else name for structured, name in names},
        }

    def state_dict(self) -> dict[str, Any]:
        """The entry of all parts as `prepare_save` has written them; raises StateError before it."""
        if not self._entry:
            raise StateError("The parts of a sharded model are written by prepare_save(), in all processes.")
        return self._entry

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Fill this process's part from the files, whatever mesh they were written on.

        Raises CheckpointError for files that are damaged, or do not fit.
        """
        try:
            shards = ShardFolder.of_state(state)
            stored = shards.tensors(self._folder)
            slots = [key[len(OPTIMIZER) :] for key in stored if key.startswith(OPTIMIZER)]
            self._optimizer.create_accumulators({slot.rpartition(".")[0] for slot in slots})
            live = self.tensors()
            self._require_fit(shards, {key: one.shape for key, one in stored.items()}, live)
            targets = {key: _target(tensor) for key, tensor in live.items()}
            fill_targets(targets, stored, lambda file: shards.arrays(self._folder, file))
        except Unreadable as error:
            raise CheckpointError(f"The sharded checkpoint is not whole: {error.reason}. Use another one.") from error
        for key, tensor in live.items():
            fill(local_part(tensor), targets[key].array)

    def as_now(self) -> Callable[[], None]:
        """What fills this process's part with what it holds now, without a file."""
        kept = {key: np.array(view(tensor)) for key, tensor in self.tensors().items()}

        def put_back() -> None:
            for key, tensor in self.tensors().items():
                fill(local_part(tensor), kept[key])

        return put_back

    def tensors(self) -> dict[str, paddle.Tensor]:
        """Every tensor of the model and the optimizer, by its key in the files."""
        weights = {f"{MODEL}{name}": tensor for name, tensor in self._model.state_dict().items()}
        slots = {f"{OPTIMIZER}{name}.{slot}": tensor for name, slot, tensor in self._optimizer.tensors()}
        return {**weights, **slots}

    def _fresh_folder(self) -> str | SaveError:
        try:
            folder = next_folder(self._folder, self._name)
            make_folder(self._folder / folder, self._disk)
            return folder
        except OSError as error:
            return explain(error, self._folder, 0)

    def _write(self, folder: Path) -> dict[str, Any] | SaveError:
        """Size and digest of the file that this process has made durable, or why it could not."""
        path = folder / f"{self._world.rank}_0.distcp"
        tensors = self.tensors()
        size = sum(view(tensor).nbytes for tensor in tensors.values())
        try:
            paddle.distributed.save_state_dict(tensors, str(folder))
            self._disk.fsync_file(path)
            return _entry(path)
        except OSError as error:
            return explain(error, path, size)

    def _collected(self, folder: Path, written: dict[str, Any] | SaveError) -> dict[str, Any]:
        """The entries of all files; raises SaveError in every process if one of them failed."""
        result: Any = self._world.gather(written)
        failed = next((one for one in result if isinstance(one, SaveError)), None)
        if failed is None and self._world.is_main:
            try:  # All have come, so whichever process wrote the metadata has done so.
                self._disk.fsync_file(folder / METADATA)
                self._disk.fsync_folder(folder)
                result.append(_entry(folder / METADATA))
            except OSError as error:
                failed = explain(error, folder / METADATA, 0)
        result, failed = self._world.broadcast_object((result, failed))
        if failed is not None:
            raise failed
        return {name: entry for one in result for name, entry in one.items()}

    def _require_fit(
        self, shards: ShardFolder, stored: dict[str, tuple[int, ...]], live: dict[str, paddle.Tensor]
    ) -> None:
        problems = [f"{key} is missing in the files" for key in live if key not in stored]
        problems += [f"{key} is unknown here" for key in stored if key not in live]
        problems += [
            f"{key} has shape {list(stored[key])} in the files and {list(tensor.shape)} here"
            for key, tensor in live.items()
            if key in stored and list(stored[key]) != list(tensor.shape)
        ]
        if problems:
            raise CheckpointError(
                f"The shards {shards.folder} do not fit the model {type(self._model).__name__} and its optimizer: "
                f"{'; '.join(problems)}. Use those that were saved, or another checkpoint. Nothing was changed."
            )


def _target(tensor: paddle.Tensor) -> Target:
    start, shape = region(tensor)
    return Target(np.empty(shape, view(tensor).dtype), start)


def _entry(path: Path) -> dict[str, Any]:
    size, digest = size_and_digest(path)
    return {path.name: {"size": size, "digest": digest}}


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep Paddle from telling each save of each process on the terminal."""
    from paddle.distributed.fleet.utils.log_util import logger

    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
