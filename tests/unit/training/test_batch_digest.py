"""A digest tells of other samples and of other values, however a tensor's values are reached."""

from __future__ import annotations

import paddle
import pytest

from paddle_resume.data.batch import Batch
from paddle_resume.training import batch_digest as module
from paddle_resume.training.batch_digest import batch_digest


def batch(add: float = 0.0, key: bytes = b"0", dtype: str = "float32") -> Batch:
    x = paddle.arange(96, dtype="float32").reshape([4, 24]) + add
    return Batch.of([x.astype(dtype), paddle.arange(4)], 4, 4, key)


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_other_samples_or_other_values_are_told(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", small)
    usual = batch_digest([batch()])
    assert batch_digest([batch()]) == usual
    assert batch_digest([batch(add=1.0)]) != usual
    assert batch_digest([batch(key=b"1")]) != usual
    assert batch_digest([batch(), batch()]) != usual
    assert batch_digest([batch(add=1.0)], values=False) == batch_digest([batch()], values=False) != usual


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "bfloat16"])
def test_a_copy_and_a_view_give_the_same(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_copy = batch_digest([batch(dtype=dtype)])
    monkeypatch.setattr(module, "_SMALL", 0)
    assert batch_digest([batch(dtype=dtype)]) == by_copy
