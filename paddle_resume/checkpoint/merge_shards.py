"""Makes plain `.pdparams` and `.pdopt` files of a sharded checkpoint, in one process and without Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.checkpoint.catalog import find_all, named_prefix
from paddle_resume.checkpoint.reader import load, sibling
from paddle_resume.checkpoint.record import SUFFIX, Record
from paddle_resume.checkpoint.resume_errors import missing, offer
from paddle_resume.checkpoint.shard_folder import OWNER, ShardFolder
from paddle_resume.checkpoint.unreadable import Damaged, NoRecord, Unreadable
from paddle_resume.checkpoint.weights import NAME_TABLE
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.distcp import StoredTensor, Target, fill_targets
from paddle_resume.storage.durable_files import make_folder, replace_file
from paddle_resume.storage.framing import FramedFile

MODEL, OPTIMIZER = "model.", "optimizer."
"""How the keys in the files begin: `model.<structured name>` and `optimizer.<structured name>.<slot>`."""
MASTER = "master_weights"
_MERGED = "_merged"


def merge_shards(checkpoint: str, output: str | None = None) -> list[Path]:
    """Write `<output>.pdparams` and, if there is optimizer state, `<output>.pdopt`; returns their paths.

    Stock `paddle.load` reads them. `checkpoint` is a prefix or one of its files; `output` is
    `<checkpoint>_merged` if not given. Raises CheckpointError for a checkpoint that is missing, damaged or not
    sharded, or an output that is a checkpoint itself, and SaveError.
    """
    prefix = named_prefix(checkpoint)
    target = named_prefix(output) if output else prefix.with_name(prefix.name + _MERGED)
    if sibling(target, SUFFIX).exists():
        raise CheckpointError(
            f"{target} is a checkpoint, which merged files would become part of; give another --output."
        )
    record, shards = _sharded(prefix)
    try:
        stored = shards.tensors(prefix.parent)
        arrays = _assembled(stored, shards, prefix.parent)
    except Unreadable as error:
        raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}. {_others(prefix)}") from error
    names = record.owners[OWNER].get("names", {})
    weights = {key[len(MODEL) :]: array for key, array in arrays.items() if key.startswith(MODEL)}
    slots = {key[len(OPTIMIZER) :]: array for key, array in arrays.items() if key.startswith(OPTIMIZER)}
    contents = {".pdparams": {**_in_order(weights, names), NAME_TABLE: names}}
    if slots:
        contents[".pdopt"] = {**_optimizer_state(slots, names), **_schedule(record)}
    make_folder(target.parent)
    for suffix, content in contents.items():
        framed = FramedFile(content)
        replace_file(sibling(target, suffix), framed.chunks(), framed.size)
    return [sibling(target, suffix) for suffix in contents]


def _sharded(prefix: Path) -> tuple[Record, ShardFolder]:
    try:
        record = load(prefix).record
        shards = ShardFolder.of(record)
    except NoRecord as error:
        raise missing(prefix, _good(prefix)) from error
    except Unreadable as error:
        raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}. {_others(prefix)}") from error
    if shards is None:
        raise CheckpointError(f"Checkpoint {prefix} is not sharded: its .pdparams is what stock Paddle loads already.")
    return record, shards


def _assembled(stored: Mapping[str, StoredTensor], shards: ShardFolder, beside: Path) -> dict[str, np.ndarray]:
    """Every tensor, whole; the dtype of each is that of its first piece."""
    dtypes: dict[str, np.dtype[Any]] = {}
    for file in sorted({piece.file for tensor in stored.values() for piece in tensor.pieces}):
        for key, array in shards.arrays(beside, file).items():
            dtypes.setdefault(key, array.dtype)
    absent = [key for key in stored if key not in dtypes]
    if absent:
        raise Damaged(f"{absent[0]} is in none of its files")
    targets = {
        key: Target(np.empty(tensor.shape, dtypes[key]), (0,) * len(tensor.shape)) for key, tensor in stored.items()
    }
    fill_targets(targets, stored, lambda file: shards.arrays(beside, file))
    return {key: target.array for key, target in targets.items()}


def _optimizer_state(slots: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, Any]:
    """By the keys that Paddle's optimizers use in a `.pdopt`."""
    state: dict[str, Any] = {}
    master: dict[str, np.ndarray] = {}
    for key, array in slots.items():
        structured, _, slot = key.rpartition(".")
        parameter = names.get(structured, structured)
        if slot == MASTER:
            master[parameter] = array
        else:
            state[f"{parameter}_{slot}_0"] = array
    return {**state, **({MASTER: master} if master else {})}


def _schedule(record: Record) -> dict[str, Any]:
    state = (record.owners.get("scheduler") or {}).get("state")
    return {"LR_Scheduler": state} if state else {}


def _in_order(weights: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The model's own order; Paddle's metadata has another one."""
    return {name: weights[name] for name in [*names, *weights] if name in weights}


def _good(prefix: Path) -> list[str]:
    return [str(found.prefix) for found in find_all(prefix.parent) if found.record and found.prefix != prefix]


def _others(prefix: Path) -> str:
    return offer(_good(prefix))
