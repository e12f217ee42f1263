"""Hooks on the gradients of parameters, which Paddle keeps where nobody can look: noted as they come and go."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from paddle.base.framework import EagerParamBase

_PARAMETER: Any = EagerParamBase
_REGISTER, _REMOVE = _PARAMETER._register_grad_hook, _PARAMETER._remove_grad_hook


class _Hook(NamedTuple):
    function: Any
    number_of_paddle: int


class _Hooks:
    """Those of one parameter, numbered in the order in which they came."""

    def __init__(self, parameter: Any) -> None:
        self.parameter = weakref.ref(parameter)
        self.here: dict[int, _Hook] = {}
        self.count = 0


NOTED: dict[int, _Hooks] = {}
"""By their ids the parameters that ever had a hook."""


def hooks_of(parameter: Any) -> dict[int, Any]:
    """The functions by their number."""
    noted = NOTED.get(id(parameter))
    if noted is None or noted.parameter() is not parameter:
        return {}
    return {number: hook.function for number, hook in noted.here.items()}


def set_hooks(parameter: Any, wanted: dict[int, Any]) -> None:
    """Register and remove hooks, so that these are there under these numbers."""
    now = hooks_of(parameter)
    if now == wanted:
        return
    noted = _noted(parameter)
    # What stays keeps its place, so that whoever can remove it still can; Paddle calls them in the order they came in.
    staying = {number: hook for number, hook in now.items() if wanted.get(number) is hook}
    if list(staying) != list(wanted)[: len(staying)]:
        staying = {}
    for number, hook in list(noted.here.items()):
        if number not in staying:
            _remove(parameter, hook.number_of_paddle)
    for number, function in wanted.items():
        if number not in staying:
            noted.count = number
            _register(parameter, function)


def _noted(parameter: Any) -> _Hooks:
    noted = NOTED.get(id(parameter))
    if noted is None or noted.parameter() is not parameter:
        noted = NOTED[id(parameter)] = _Hooks(parameter)
        weakref.finalize(parameter, NOTED.pop, id(parameter), None).atexit = False
    return noted


def _register(self: Any, hook: Any) -> int:
    number = _REGISTER(self, hook)
    noted = _noted(self)
    noted.here[noted.count] = _Hook(hook, number)
    noted.count += 1
    return number


def _remove(self: Any, number: int) -> bool:
    here = _noted(self).here
    for key in [key for key, hook in here.items() if hook.number_of_paddle == number]:
        del here[key]
    return _REMOVE(self, number)


_PARAMETER._register_grad_hook, _PARAMETER._remove_grad_hook = _register, _remove
