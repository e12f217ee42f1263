"""Sparse gradients, such as those of `paddle.nn.Embedding(sparse=True)`: some rows of a parameter, and their values."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle


def values_of(gradient: Any) -> paddle.Tensor:
    """The numbers in a gradient as a dense tensor, of a sparse one those of its rows.

    Most of Paddle's functions fail for a sparse one, with a SystemError or by ending the process.
    """
    with paddle.no_grad():
        return gradient._get_tensor_from_selected_rows() if gradient.is_selected_rows() else gradient


def average_sparse(gradient: Any, weight: float, size: int, gather: Callable[[Any], list[Any]]) -> None:
    """Make a sparse gradient the mean of those of `size` processes, in which this one's counts `weight` times.

    `gather` gives the values of all processes by rank. A row may come several times: the optimizer adds them up.
    """
    sparse = gradient.get_selected_rows()
    values = values_of(gradient).numpy()
    gathered = gather((list(sparse.rows()), values * values.dtype.type(weight / size)))
    sparse.set_rows([row for rows, _ in gathered for row in rows])
    place = gradient.place
    where = paddle.CPUPlace() if place.is_cpu_place() else paddle.CUDAPlace(place.gpu_device_id())
    sparse.get_tensor().set(np.concatenate([each for _, each in gathered]), where)
