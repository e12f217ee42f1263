"""A step's loss where it is one number, and where it is several by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import numpy as np
import paddle

from paddle_resume.errors import StateError

LOSS = "loss"


def total_loss(loss: Any, log: Callable[[Mapping[str, Any]], None], where: str) -> Any:
    """The one loss that is optimised, shown and checked for NaN; the others of a dict are logged by their names.

    Of a dict it is what is called `loss` or, where nothing is, the sum of all. Raises StateError for what is no loss,
    with `where` as what gave it.
    """
    if isinstance(loss, Mapping) and loss:
        for name, value in loss.items():
            _require_loss(value, f"{where}: {name!r} of its losses")
        log({name: value for name, value in loss.items() if name != LOSS})
        return loss[LOSS] if LOSS in loss else sum(list(loss.values())[1:], next(iter(loss.values())))
    _require_loss(loss, f"{where}: its loss")
    return loss


def as_tensor(loss: Any) -> paddle.Tensor:
    """A loss that is a number already, as the tensor that is logged."""
    return loss if isinstance(loss, paddle.Tensor) else paddle.to_tensor(float(np.asarray(loss).item()), "float32")


def _require_loss(loss: Any, where: str) -> None:
    if isinstance(loss, paddle.Tensor) and loss.size == 1:
        return
    if isinstance(loss, (int, float)) and not isinstance(loss, bool):
        return
    if isinstance(loss, (np.generic, np.ndarray)) and loss.size == 1 and loss.dtype.kind in "iuf":
        return
    if isinstance(loss, (paddle.Tensor, np.ndarray)):
        found = f"a tensor of shape {list(loss.shape)}"
    elif isinstance(loss, (tuple, list, dict)):
        found = f"a {type(loss).__name__} of {len(loss)}"
    else:
        found = "None" if loss is None else f"a {type(loss).__name__}"
    raise StateError(
        f"{where} is {found}; expected the mean over the batch, one number, such as loss.mean(); several losses go as "
        "a dict by name, and outputs for metrics beside the loss, as (loss, output)."
    )


def loss_and_output(result: Any, where: str) -> tuple[Any, Any]:
    """What `compute_loss` gave, as the two that it has to give; raises StateError for anything else."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    found = f"a {type(result).__name__}" + (f" of {len(result)}" if isinstance(result, tuple) else "")
    raise StateError(f"{where}.compute_loss gave {found}; expected the two (mean loss, output).")
