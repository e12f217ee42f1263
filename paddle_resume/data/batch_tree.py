"""The structure of a batch: that of a sample of its dataset, with a tensor for each of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import paddle
from paddle.io.dataloader.collate import default_collate_fn

from paddle_resume.argument_types import described

# Paddle's loader brings lists and dicts through to this process, and nothing else: what is neither goes as a dict.
_TUPLE, _RAGGED = "paddle_resume tuple", "paddle_resume ragged"
# What Paddle's own function makes a batch of.
_HELD = (np.ndarray, paddle.Tensor, Number, np.generic, str, bytes, Mapping, list, tuple)


class Ragged(list[Any]):
    """A field whose samples have different shapes: a list of one tensor for each sample."""


def collate(samples: Sequence[Any]) -> Any:
    """Samples of one structure as a batch of it, as Paddle's own function makes it.

    What that refuses is a list of one array for each sample: a field with another shape in each, such as boxes. Tuples
    within a sample are dicts here, until `as_tensors`.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        _require_one_structure(samples, Mapping, list)
        return {key: _nested([sample[key] for sample in samples]) for key in first}
    if not isinstance(first, (list, tuple)):
        _require_one_type(samples)
        return {_RAGGED: [np.asarray(each) for each in samples]} if _is_ragged(samples) else default_collate_fn(samples)
    if _is_row(first) and all(map(_is_row, samples)) and any(len(sample) != len(first) for sample in samples):
        return {_RAGGED: [np.asarray(sample) for sample in samples]}
    _require_one_structure(samples, (list, tuple), len)
    return [_nested(field) for field in zip(*samples)]


def _nested(samples: Sequence[Any]) -> Any:
    collated = collate(samples)
    return {_TUPLE: collated} if isinstance(samples[0], tuple) and isinstance(collated, list) else collated


class OtherTypeError(Exception):
    """A sample that does not go into a batch with the others, or into none; `place` says which of the batch it is.

    `expected` says what the others have; it is empty where no batch can hold what was found.
    """

    def __init__(self, place: int, found: str, expected: str = "") -> None:
        super().__init__(place, found, expected)
        self.place, self.found, self.expected = place, found, expected

    def sentence(self, sample: str) -> str:
        """What is wrong with it, where it is called `sample`."""
        if not self.expected:
            return (
                f"{sample} has {self.found}, which no batch can hold; expected arrays, tensors, numbers or texts, or "
                "tuples, lists and dicts of them. Have the dataset give one of these, or give it a method "
                "collate_fn(samples) that makes batches."
            )
        return (
            f"{sample} has {self.found} where the others of its batch have {self.expected}. Give all samples one "
            "structure and type."
        )


def _is_row(sample: Any) -> bool:
    return isinstance(sample, (list, tuple)) and all(isinstance(each, Number) for each in sample)


def _require_one_structure(samples: Sequence[Any], kind: Any, shape: Callable[[Any], Any]) -> None:
    """All of `kind` and, by `shape`, with the same fields."""
    first = shape(samples[0])
    if all(isinstance(each, kind) and shape(each) == first for each in samples):
        return
    structures = [_structure(each, shape) if isinstance(each, kind) else _shown(each) for each in samples]
    usual = max(dict.fromkeys(structures), key=structures.count)
    for place, structure in enumerate(structures):
        if structure != usual:
            raise OtherTypeError(place, structure, usual)


def _structure(sample: Any, shape: Callable[[Any], Any]) -> str:
    if isinstance(sample, Mapping):
        return f"the fields {', '.join(sorted(map(repr, shape(sample))))}" if sample else "an empty dict"
    return f"{shape(sample)} fields"


def _require_one_type(samples: Sequence[Any]) -> None:
    """Texts among numbers, or fractions among whole numbers, would make all of the batch something else."""
    if not isinstance(samples[0], _HELD) and not any(isinstance(each, _HELD) for each in samples):
        raise OtherTypeError(0, _shown(samples[0]))
    types = {type(each) for each in samples}
    if len(types) == 1 and (types != {np.ndarray} or len({each.dtype for each in samples}) == 1):
        return
    kinds = [_kind(each) for each in samples]
    usual = max(dict.fromkeys(kinds), key=kinds.count)
    for place, kind in enumerate(kinds):
        if kind != usual:
            raise OtherTypeError(place, _shown(samples[place]), usual)


def _kind(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "texts"
    if not isinstance(value, (Number, np.ndarray, paddle.Tensor)):
        return "None" if value is None else f"{type(value).__name__}s"
    dtype = str(value.dtype) if isinstance(value, paddle.Tensor) else np.asarray(value).dtype.name
    return (
        "numbers with fractions"
        if "float" in dtype
        else "whole numbers"
        if "int" in dtype or "bool" in dtype
        else dtype
    )


def _shown(value: Any) -> str:
    if isinstance(value, (np.ndarray, paddle.Tensor)) and value.size != 1:
        return f"{str(value.dtype).rpartition('.')[2]} of shape {list(value.shape)}"
    if isinstance(value, (np.ndarray, np.generic, paddle.Tensor)):
        return repr(value.item())
    return repr(value) if value is None or isinstance(value, (Number, str, bytes)) else described(value)[1]


def _is_ragged(samples: Sequence[Any]) -> bool:
    shapes = {tuple(each.shape) for each in samples if isinstance(each, (np.ndarray, paddle.Tensor))}
    return len(shapes) > 1


def as_tensors(collated: Any) -> Any:
    """What a collate function gave, with tensors for its arrays."""
    if isinstance(collated, np.ndarray):
        # Texts and objects are no tensors; they stay as they are.
        return paddle.to_tensor(collated) if collated.dtype.kind in "biufc" else collated
    if isinstance(collated, Mapping):
        if _TUPLE in collated:
            return tuple(as_tensors(part) for part in collated[_TUPLE])
        if _RAGGED in collated:
            return Ragged(as_tensors(part) for part in collated[_RAGGED])
        return {key: as_tensors(part) for key, part in collated.items()}
    return like(collated, map(as_tensors, collated)) if isinstance(collated, (list, tuple)) else collated


def like(series: Any, parts: Iterator[Any]) -> Any:
    """A list, a tuple, or a named one with these parts in place of its own."""
    if isinstance(series, tuple):
        return type(series)(*parts) if hasattr(series, "_fields") else tuple(parts)
    return Ragged(parts) if isinstance(series, Ragged) else list(parts)


def map_tensors(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same structure with `function` of each tensor in its place."""
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, part) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return like(tree, (map_tensors(function, part) for part in tree))
    return function(tree) if isinstance(tree, paddle.Tensor) else tree


def tensors(tree: Any, path: str = "") -> Iterator[tuple[str, paddle.Tensor]]:
    """Every tensor with its place, such as `image` or `1.0`."""
    if isinstance(tree, Mapping):
        parts = [(str(key), part) for key, part in tree.items()]
    else:
        parts = [(str(i), part) for i, part in enumerate(tree)] if isinstance(tree, (list, tuple)) else []
    for name, part in parts:
        yield from tensors(part, f"{path}.{name}" if path else name)
    if isinstance(tree, paddle.Tensor):
        yield path, tree


def ragged_fields(tree: Any, path: str = "") -> Iterator[tuple[str, Ragged]]:
    """Every field whose samples have different shapes, with its place, such as `field 0` or `field boxes`."""
    if isinstance(tree, Ragged):
        yield f"field {path or 0}", tree
    elif isinstance(tree, (Mapping, list, tuple)):
        for key, part in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from ragged_fields(part, f"{path}.{key}" if path else str(key))


def samples_in(tree: Any) -> int:
    """How many samples a batch of this structure has; 0 where nothing tells."""
    if isinstance(tree, Ragged):
        return len(tree)
    if isinstance(tree, paddle.Tensor):
        return int(tree.shape[0]) if tree.ndim else 0
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, (list, tuple)) else ()
    return next(filter(None, map(samples_in, parts)), 0)


def part_of(tree: Any, part: slice) -> Any:
    """These samples of a batch of this structure."""
    if isinstance(tree, Ragged):
        return Ragged(tree[part])
    if isinstance(tree, Mapping):
        return {key: part_of(each, part) for key, each in tree.items()}
    if isinstance(tree, (list, tuple)) and not all(isinstance(each, (str, bytes)) for each in tree):
        return like(tree, (part_of(each, part) for each in tree))
    return tree[part] if isinstance(tree, (paddle.Tensor, list, np.ndarray)) else tree
