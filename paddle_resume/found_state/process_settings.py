"""Settings of the whole process that decide how is computed: Paddle's, NumPy's, decimal's, the environment's."""

from __future__ import annotations

import decimal
import os
import re
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Optional

import numpy as np
import paddle
from paddle.base.framework import _global_flags

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import NamedKind

PATH = "<process>"
_COMPUTES = re.compile(
    r"determin|nan_inf|mkldnn|onednn|gemm|cublas|cudnn|prim|precision|autotune|sum_grad|to_1d|fast_math"
)
_ENVIRON, _FLAG, _ERRORS, _DECIMAL, _DTYPE = "environ.", "flag.", "numpy.errstate.", "decimal.", "paddle.default_dtype"
_OF_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


class ProcessSettings:
    """Stands for all of them, which are attributes of no object."""


SETTINGS = ProcessSettings()


class SettingsKind(NamedKind):
    """The settings by name: of the environment those variables that code of the run speaks of, and no others.

    So no record can set another one, of which a program that is started later would take notice.
    """

    tag = "settings"
    types = (ProcessSettings,)

    def __init__(self) -> None:
        self._variables: set[str] = set()
        self._seen: tuple[str, list[Any]] = "", []

    def add(self, variables: frozenset[str]) -> None:
        """Look at these variables of the environment from now on."""
        self._variables |= variables

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        found = _settings()
        found.update({f"{_ENVIRON}{name}": os.environ[name] for name in self._variables if name in os.environ})
        objects = [*found, *found.values()]
        told = repr(objects)
        if told != self._seen[0]:  # Each look makes them anew; what is told by the same text has not moved.
            self._seen = told, objects
        return self._seen[1], None

    def refuses(self, labels: Optional[Sequence[Any]], values: list[Any], thing: Any = None) -> str:
        now = _settings()
        for name, value in zip(labels or (), values):
            is_variable = self._is_variable(name) and type(value) is str and "\0" not in value
            if not is_variable and (type(name) is not str or type(now.get(name)) is not type(value)):
                return f"this process has no setting {str(name)[:80]!r} of that kind"
        return "" if len(labels or ()) == len(values) else "each setting has one value"

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        now = _settings()
        for name, value in zip(labels or (), values):
            if name.startswith(_ENVIRON):
                os.environ[name[len(_ENVIRON) :]] = value
            elif now[name] != value:
                _set(name, value)

    def remove(self, thing: Any, labels: Sequence[Any]) -> None:
        for name in labels:
            os.environ.pop(name[len(_ENVIRON) :], None)

    def _is_variable(self, name: Any) -> bool:
        return type(name) is str and name.startswith(_ENVIRON) and name[len(_ENVIRON) :] in self._variables

    def told(self, thing: Any) -> str:
        return "settings of the process"


def _settings() -> dict[str, Any]:
    context, flags = decimal.getcontext(), _global_flags()
    return {
        _DTYPE: paddle.get_default_dtype(),
        **{f"{_ERRORS}{name}": what for name, what in np.geterr().items()},
        **{f"{_DECIMAL}{name}": getattr(context, name) for name in _OF_DECIMAL},
        **{label: flags[name] for label, name in _flags().items()},
    }


def _set(name: str, value: Any) -> None:
    if name == _DTYPE:
        paddle.set_default_dtype(value)
    elif name.startswith(_ERRORS):
        np.seterr(**{name[len(_ERRORS) :]: value})
    elif name.startswith(_DECIMAL):
        setattr(decimal.getcontext(), name[len(_DECIMAL) :], value)
    else:
        paddle.set_flags({name[len(_FLAG) :]: value})


@cache
def _flags() -> dict[str, str]:
    """Those of Paddle's flags that a program may set and that decide how is computed, by their labels."""
    flags = _global_flags()
    named = [name for name in flags.keys() if _COMPUTES.search(name) and flags.is_public(name)]  # noqa: SIM118
    found = sorted(name for name in named if type(flags[name]) is not str)  # Some texts name libraries to load.
    return {f"{_FLAG}{name}": name for name in found}
