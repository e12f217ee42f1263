"""Values that belong to this process and not to the run: clocks, process numbers, hosts, folders, drawn names."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import time
import uuid
from typing import Any, Callable, Optional

_CLOCKS: dict[str, Callable[[], float]] = {"time": time.time, "perf_counter": time.perf_counter}
_STARTED = {name: clock() for name, clock in _CLOCKS.items()}
# How long before this module was imported the process may have read a clock.
_BEFORE = {"time": 86400.0, "perf_counter": 600.0}
# `start_time`, `t0`, `tic`, `saved_at`, `_last_time`; but no sums and limits of time, which may decide something.
_NAMED_CLOCK = re.compile(r"(?:^|_)(?:t0|t_start|tic|toc|clock|timer?|times?tamp|stamp|began|started|now)(?:$|_)|_at$")
_NAMED_SPAN = re.compile(r"total|sum|budget|limit|elapsed|spent|per_|avg|mean|max|min|step|epoch|count|scale|warmup")
_DRAWN_NAME = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def clock_of(name: Any, value: Any) -> Optional[str]:
    """Which clock the value of an attribute of this name was read from, or None if it was from none."""
    if type(value) is not float and not (type(value) is int and _is_named_clock(name)):
        return None
    for clock, now in _CLOCKS.items():
        if _STARTED[clock] - _BEFORE[clock] <= value <= now() + 1 and value > 0:
            # Seconds since 1970 are like no other number; those since the machine's start may be anything.
            return clock if clock == "time" or (type(value) is float and _is_named_clock(name)) else None
    return None


def age(clock: str, value: float) -> float:
    """How long ago the clock showed this."""
    return _CLOCKS[clock]() - value


def shown_before(clock: str, seconds: float) -> float:
    """What the clock showed so many seconds ago; raises KeyError for a clock that there is not."""
    return _CLOCKS[clock]() - seconds


def is_of_this_process(name: Any, value: Any) -> bool:
    """Whether the value is expected to be another one in the next process of the same run, and decides nothing."""
    kind = type(value)
    if kind is str:
        return _is_place(value) or bool(_DRAWN_NAME.fullmatch(value)) or value == socket.gethostname()
    if kind is int and isinstance(name, str) and "pid" in name.lower():
        return value == os.getpid() or value == os.getppid()
    return isinstance(value, (pathlib.PurePath, uuid.UUID)) or clock_of(name, value) is not None


def _is_named_clock(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    lowered = name.lower()
    return bool(_NAMED_CLOCK.search(lowered)) and not _NAMED_SPAN.search(lowered)


def _is_place(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or (os.sep in text and " " not in text)
