"""When a checkpoint is due, and what happens when a save fails or the one before is not done."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Optional, Union

from paddle_resume.checked_arguments import AT_LEAST_ONE, BETWEEN, POSITIVE, Rule, checked_class, one_of

# An automatic schedule measures its first save after this many steps, when the first slow ones are over.
_PROBE_STEP = 10
_SAMPLES = 5
_MEMORY_BUDGET = 0.01
OFF = "off"
_MEMORY_VARIABLE = "PADDLE_RESUME_MEMORY"


_EVERY_STEPS = Rule(
    'a whole number of 1 or more, "auto", or None',
    lambda value: value == "auto" if isinstance(value, str) else value >= 1,
)


@checked_class(
    every_epochs=AT_LEAST_ONE,
    every_steps=_EVERY_STEPS,
    every_minutes=POSITIVE,
    on_error=one_of("continue", "stop"),
    on_busy=one_of("wait", "skip"),
    budget=BETWEEN,
    keep=AT_LEAST_ONE,
    keep_epochs=AT_LEAST_ONE,
)
@dataclass(frozen=True)
class SaveSchedule:
    """How often a run saves itself, how, and how many checkpoints stay. The end of a run is always saved.

    None switches one of `every_epochs`, `every_steps` and `every_minutes` off.
    """

    every_epochs: Optional[int] = 1
    every_steps: Union[int, str, None] = None
    """A number, or `auto`: as often as `budget` allows."""
    every_minutes: Optional[float] = None
    on_error: str = "continue"
    """After a failed save: `continue` (try again at the next one) or `stop`."""
    on_busy: str = "wait"
    """When a save is due and the one before is not durable yet: `wait` for it, or `skip` this one."""
    budget: float = 0.03
    """The share of training time that `auto` may spend on saving."""
    keep: int = 2
    """How many step checkpoints stay."""
    keep_epochs: Optional[int] = None
    """How many epoch checkpoints stay; None keeps all."""
    background: bool = True
    """Write them behind training, in a process of its own; else training waits for each."""
    memory: Union[int, str] = "auto"
    """Steps between two saves in shared memory, from which the same command goes on after a kill; `auto`: as often as
    1 % of the training time allows, if there is room; `off`. PADDLE_RESUME_MEMORY in the environment goes before."""

    @property
    def memory_now(self) -> Union[int, str]:
        """`memory`, or what the environment says in its place."""
        given = os.environ.get(_MEMORY_VARIABLE, "")
        if given.isdigit() and int(given):
            return int(given)
        return given if given in ("auto", OFF) else self.memory

    def epoch_is_due(self, epoch: int) -> bool:
        return self.every_epochs is not None and (epoch + 1) % self.every_epochs == 0

    def step_is_due(self, step: int) -> bool:
        """Whether a checkpoint belongs to this step whatever time has passed and wherever the run was interrupted."""
        return isinstance(self.every_steps, int) and step % self.every_steps == 0


class MemoryClock:
    """Tells at each step whether a save in memory is due, and measures what they cost."""

    def __init__(self, wanted: Union[int, str]) -> None:
        self._is_auto = wanted == "auto"
        self._every: Optional[int] = None if isinstance(wanted, str) else wanted
        self._is_off = wanted == OFF
        self._last = -1
        self._last_time = 0.0
        self._costs: deque[float] = deque(maxlen=_SAMPLES)

    def is_due(self, step: int) -> bool:
        if self._is_off:
            return False
        if not self._is_auto:
            return self._every is not None and step % self._every == 0
        if self._last < 0:
            self._last, self._last_time = step, time.monotonic()
        return step - self._last >= (self._every or _PROBE_STEP)

    def saved(self, step: int, seconds: float) -> None:
        """A save of `step` has stopped training for so long."""
        now, steps = time.monotonic(), step - self._last
        self._costs.append(seconds)
        if self._is_auto and steps > 0:
            # Since the last one only: the first steps of a run take long.
            step_time = (now - seconds - self._last_time) / steps
            self._every = max(1, math.ceil(median(self._costs) / _MEMORY_BUDGET / max(step_time, 1e-6)))
        self._last, self._last_time = step, now

    def stop(self) -> None:
        """None is due any more."""
        self._is_off = True


class SaveClock:
    """Tells at each step whether a step checkpoint is due, and measures what saves cost."""

    def __init__(self, schedule: SaveSchedule) -> None:
        self._auto = schedule.every_steps == "auto"
        self._every_steps = None if isinstance(schedule.every_steps, str) else schedule.every_steps
        self._every_seconds = schedule.every_minutes * 60 if schedule.every_minutes else None
        self._budget = schedule.budget
        self._last_time = self._start_time = time.monotonic()
        self._last_step = self._start_step = -1
        # The medians of a few, since a single slow save tells little of the next one.
        self._stalls: deque[float] = deque(maxlen=_SAMPLES)
        self._persists: deque[float] = deque(maxlen=_SAMPLES)

    def is_due(self, step: int) -> bool:
        if self._start_step < 0:
            self._last_time = self._start_time = time.monotonic()
            self._last_step = self._start_step = step
        if self._auto:
            wanted = self._every_steps or _PROBE_STEP
            return step - self._last_step >= wanted
        if self._every_steps and step % self._every_steps == 0:
            return True
        return self._every_seconds is not None and time.monotonic() - self._last_time >= self._every_seconds

    def began(self, step: int, stall: float) -> None:
        """A save of `step` has stopped training for `stall` seconds, and goes on behind it."""
        self._last_step, self._last_time = step, time.monotonic()
        self._stalls.append(stall)

    def landed(self, step: int) -> Optional[str]:
        """The save under way has become durable; returns what an automatic schedule picks now, if that is news.

        The interval is the shortest for which the stall is at most `budget` of the training time, and each save
        is durable before the next begins.
        """
        if not self._auto or self._start_step < 0 or step <= self._start_step:
            return None
        now = time.monotonic()
        self._persists.append(now - self._last_time)
        stall, persist = median(self._stalls), median(self._persists)
        step_time = (now - self._start_time) / (step - self._start_step)
        steps = max(1, math.ceil(max(stall / self._budget, persist) / step_time))
        before, self._every_steps = self._every_steps, steps
        if before is not None and before / 2 < steps < before * 2:
            return None
        return (
            f"Saving every {steps} steps: a save stops training for {stall * 1e3:.1f} ms and is durable "
            f"{persist * 1e3:.0f} ms later, a step takes {step_time * 1e3:.1f} ms; at most {self._budget:.1%} of the "
            "time goes into saving."
        )
