"""Objects of the user's that have state methods of their own: those are what is saved of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Optional

import paddle

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import Kind
from paddle_resume.found_state.uncaptured import top_level

_PADDLES = (paddle.nn.Layer, paddle.optimizer.Optimizer, paddle.optimizer.lr.LRScheduler, paddle.amp.GradScaler)
_METHODS = ("state_dict", "set_state_dict")


class OwnerKind(Kind):
    """An object with `state_dict` and `set_state_dict`; its other attributes are its own affair."""

    tag = "owner"

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], None

    def expand(self, thing: Any, objects: list[Any], claimed: Claimed) -> tuple[Optional[list[Any]], list[Any]]:
        return None, []

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        thing.set_state_dict(held)


def is_owner(cls: type) -> bool:
    """Whether `cls` has both state methods, and neither is Paddle's, of which some leave state out."""
    if issubclass(cls, _PADDLES):
        return False
    for method in _METHODS:
        base = next((base for base in cls.__mro__ if method in vars(base)), None)
        if base is None or top_level(base) == "paddle" or not callable(vars(base)[method]):
            return False
    return True
