"""Views that are kept from save to save show what the tensors hold now, wherever that lies."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Callable

import numpy as np
import paddle
import pytest

from paddle_resume.owners.tensor_views import KeptViews, is_zero

BESIDE = paddle.ones([3])


@pytest.fixture
def kept() -> KeptViews:
    return KeptViews()


def same(kept: KeptViews, tensor: Any) -> bool:
    seen, held = kept.of({"x": tensor, "beside": BESIDE})["x"], tensor.numpy()
    return seen.dtype == held.dtype and seen.shape == held.shape and seen.tobytes() == held.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [[], [0, 3], [1], [3, 3]])
def test_every_kind_is_seen_twice_alike(dtype: str, shape: list[int], kept: KeptViews) -> None:
    tensor = paddle.ones(shape).astype(dtype)
    assert same(kept, tensor) and same(kept, tensor)


def in_place(tensor: Any) -> None:
    with paddle.no_grad():
        tensor.add_(paddle.ones(tensor.shape))


def transposed(tensor: Any) -> None:
    if not hasattr(paddle, "transpose_"):
        pytest.skip("this Paddle has no transpose_")
    paddle.transpose_(tensor, [1, 0])


def cast(tensor: Any) -> None:
    if not hasattr(tensor, "cast_"):
        pytest.skip("this Paddle has no cast_")
    tensor.cast_("int32")


@pytest.mark.parametrize(
    "change",
    [
        in_place,
        transposed,
        cast,
        lambda tensor: tensor.set_value(np.full((3, 3), 7, np.float32)),
        lambda tensor: tensor.reshape_([9]),
        lambda tensor: tensor.get_tensor().set(np.full((2, 5), 7, np.float32), paddle.CPUPlace()),
        lambda tensor: tensor.zero_(),
    ],
)
def test_a_tensor_that_changed_is_seen_as_it_is(change: Callable[[Any], None], kept: KeptViews) -> None:
    tensor = paddle.arange(9.0).reshape([3, 3])
    assert same(kept, tensor) and same(kept, tensor)
    change(tensor)
    assert same(kept, tensor) and same(kept, tensor)


def test_what_training_moves_is_seen(kept: KeptViews) -> None:
    net = paddle.nn.Linear(4, 4)
    adam = paddle.optimizer.Adam(0.1, parameters=net.parameters())
    for _ in range(4):
        seen = kept.of(net.state_dict())
        assert all(seen[name].tobytes() == each.numpy().tobytes() for name, each in net.state_dict().items())
        net(paddle.ones([2, 4])).sum().backward()
        adam.step()
        adam.clear_grad()


def test_a_kept_view_is_given_again_by_the_name_that_its_tensor_has_now(kept: KeptViews) -> None:
    one, other = paddle.ones([5]), paddle.zeros([5])
    first = kept.of({"a": one, "b": other})
    again = kept.of({"a": one, "b": other})
    assert again["a"] is first["a"] and again["b"] is first["b"]
    swapped = kept.of({"a": other, "b": one, "c": paddle.full([2], 3.0)})
    assert swapped["a"] is first["b"] and swapped["b"] is first["a"] and swapped["c"].tolist() == [3, 3]
    assert list(kept.of({"b": one})) == ["b"]


def test_a_tensor_that_took_the_place_of_another_is_seen(kept: KeptViews) -> None:
    for number in range(20):  # Some are the same number to Python, in the same memory.
        assert same(kept, paddle.full([4], float(number)))


def test_a_view_goes_with_its_tensor_at_the_next_save(kept: KeptViews) -> None:
    tensor = paddle.ones([5])
    gone = weakref.ref(tensor)
    kept.of({"x": tensor})
    del tensor
    kept.of({"x": BESIDE})
    gc.collect()
    assert gone() is None


def test_a_gradient_is_zero_only_if_each_of_its_values_is() -> None:
    for dtype in ("float32", "float64", "bfloat16"):
        for number in range(3):
            tensor = paddle.zeros([3, 5]).astype(dtype)
            assert is_zero(tensor)
            tensor[number, 4] = 1e-30
            assert not is_zero(tensor)
            tensor[number, 4] = -0.0
            assert is_zero(tensor) or dtype == "bfloat16"  # which NumPy shows as whole numbers
    assert is_zero(paddle.zeros([3, 4]).t()) and not is_zero(paddle.ones([3, 4]).t())
    assert is_zero(paddle.zeros([0])) and not is_zero(paddle.full([], float("nan")))


def test_memory_that_was_freed_is_looked_at_again_for_its_next_owner() -> None:
    for number in range(100):
        assert is_zero(paddle.full([16], number % 2, "float32")) is (number % 2 == 0)
