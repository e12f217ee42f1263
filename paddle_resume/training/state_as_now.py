"""Brings a run back to where it stands now without a checkpoint: what owners hold is copied in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Union

import numpy as np

from paddle_resume.errors import SaveError
from paddle_resume.stateful import HasFile, PreparesSave, Returns, Stateful


def state_as_now(owners: Iterable[object]) -> Callable[[], None]:
    """What brings back, in their order, what those hold now that can be brought back; it copies that much memory."""
    kept = [_as_now(owner) for owner in owners if isinstance(owner, (Returns, Stateful))]

    def put_back() -> None:
        for each in kept:
            each()

    return put_back


def _as_now(owner: Union[Returns, Stateful]) -> Callable[[], None]:
    if isinstance(owner, Returns):
        return owner.as_now()
    if isinstance(owner, PreparesSave):  # A log, which goes back to what it has written.
        try:
            owner.prepare_save()
        except SaveError:  # Left as it is; the save tells of it.
            return lambda: None
    state = owner.state_dict()
    state = dict(_arrays(state)) if isinstance(owner, HasFile) else copy.deepcopy(state)
    return lambda: owner.set_state_dict(state)


def _arrays(state: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Copies of the arrays under the names by which a file gives them back."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from _arrays(value, f"{prefix}{name}/")
        elif isinstance(value, np.ndarray):
            yield f"{prefix}{name}", value.copy()
