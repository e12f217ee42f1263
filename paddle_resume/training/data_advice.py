"""What a dataset could give instead, where its samples do not go through model and loss; what is advised was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import paddle

from paddle_resume.data.batch import Batch, NamedBatch
from paddle_resume.data.batch_tree import map_tensors, tensors


def data_advice(batch: Batch, forward: Callable[[Batch], Any]) -> str:
    """A sentence such as `With labels of int64 it goes: ...`, if one of the usual changes helps; else an empty text."""
    for what, other in _others(batch):
        try:
            result = forward(other)
            loss = result[0] if isinstance(result, tuple) else result
            if isinstance(loss, paddle.Tensor) and not loss.stop_gradient:
                loss.backward()
        except Exception:  # whatever the model or the loss raises
            continue
        return f"With {what} it goes: have the dataset give that."
    return ""


def _others(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The batch as Paddle's layers and losses want it, one slip undone at a time, then types of both together."""
    label: Any = batch.label if isinstance(batch.label, paddle.Tensor) else None
    floats = _each(batch, lambda each: each if _is(each, "float32") else each.astype("float32"))
    labels = [kind for kind in ("int64", "float32") if label is not None and not _is(label, kind)]
    for kind in labels:
        yield f"labels of {kind}", _with(batch, label=label.astype(kind))
    if floats is not None:
        yield "inputs of float32", _with(batch, inputs=floats)
    for kind in labels if floats is not None else ():
        yield f"inputs of float32 and labels of {kind}", _with(batch, floats, label.astype(kind))
    if label is not None and label.ndim > 1 and label.shape[-1] > 1:
        yield (
            "labels that are the number of the class, in place of a row with a 1",
            _with(batch, label=label.argmax(-1)),
        )
    if any(each.ndim == 3 for _, each in tensors(batch.inputs)):
        grays = _each(batch, lambda each: each.unsqueeze(1) if each.ndim == 3 else each)
        yield "images that have an axis of channels, [1, height, width]", _with(batch, inputs=grays)


def _each(batch: Batch, change: Callable[[paddle.Tensor], paddle.Tensor]) -> Any:
    """The inputs with each of their tensors changed; None if that leaves all as they are."""
    changed = map_tensors(change, batch.inputs)
    same = all(a is b for (_, a), (_, b) in zip(tensors(changed), tensors(batch.inputs)))
    return None if same else changed


def _with(batch: Batch, inputs: Any = None, label: Any = None) -> Batch:
    inputs = batch.inputs if inputs is None else inputs
    label = batch.label if label is None else label
    if isinstance(batch, NamedBatch):
        return batch.with_entries({name: inputs.get(name, label) for name in batch})
    return batch.with_entries([*inputs, label])


def _is(tensor: paddle.Tensor, kind: str) -> bool:
    return str(tensor.dtype).rpartition(".")[2] == kind
