"""Calls the hooks of several callbacks; those that a callback does not override cost nothing at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paddle_resume.stateful import Stateful
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.run_view import RunView

_OURS = "paddle_resume."


class Hooks:
    """The overridden hooks of `callbacks`, called with `run`."""

    def __init__(self, callbacks: Sequence[Callback], run: RunView) -> None:
        names = [name for name in vars(Callback) if name.startswith("on_")]
        self._run = run
        self._methods = {
            name: [getattr(c, name) for c in callbacks if getattr(type(c), name) is not getattr(Callback, name)]
            for name in names
        }

    def call(self, hook: str, *args: Any) -> None:
        for method in self._methods[hook]:
            method(self._run, *args)

    def has_users(self, hook: str) -> bool:
        """Whether a callback of the user's own overrides `hook`."""
        return any(not type(method.__self__).__module__.startswith(_OURS) for method in self._methods[hook])

    def has(self, hook: str) -> bool:
        """Whether any callback overrides `hook`."""
        return bool(self._methods[hook])


def stateful(callbacks: Sequence[Callback]) -> list[tuple[str, Stateful]]:
    """The callbacks that own state, each with its name as an owner."""
    return [(f"callback.{type(c).__name__}", c) for c in callbacks if isinstance(c, Stateful)]
