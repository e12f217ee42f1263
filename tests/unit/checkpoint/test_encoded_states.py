"""A state that looks like the last one is written as what it is: the text of that one is used for the same alone."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.errors import StateError

ALIKE: list[Any] = [
    *(1, 1.0, True, np.float64(1), np.int64(1), 0.0, -0.0, np.float32(1)),
    *(np.arange(4, dtype=np.int32), np.arange(4, dtype=np.uint32), np.arange(4, dtype=np.int32).reshape(2, 2)),
    *(np.arange(4, dtype=np.int32).tobytes().decode("latin-1"), float("nan"), float("inf"), [1], [[1]], {"1": 1}, None),
]


def plain(value: Any) -> Any:
    """What tells two states apart: the type and the bits."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return type(value), repr(value)


@pytest.mark.parametrize(("first", "second"), permutations(range(len(ALIKE)), 2))
def test_each_state_is_its_own(first: int, second: int) -> None:
    for index in (first, second, second, first):
        value = ALIKE[index]
        expected = value.item() if isinstance(value, np.generic) else value
        assert plain(decode_state(encode_state("x", {"a": value}))["a"]) == plain(expected)


@pytest.mark.parametrize("wrong", [{1: 2}, {"a": {1: 2}}, {"a": b"1"}, {"a": {1}}, {"a": object()}])
def test_what_cannot_be_kept_is_refused_also_after_what_can(wrong: Any) -> None:
    encode_state("x", {"a": {"1": 2}})
    for _ in range(2):
        with pytest.raises(StateError, match="The state of 'x' cannot be saved"):
            encode_state("x", wrong)
