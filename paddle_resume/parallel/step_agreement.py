"""What all processes do after the step under way, told with what the step exchanges anyway, where that can be."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Optional

from paddle_resume.parallel.world import Agreement, World

TOLD = 4
"""How many numbers go with the exchange: whether to save on disk and in memory, how many have got each signal."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StepAgreement:
    """Agrees once for each step; every process gets the same.

    gloo's collectives end a run whose processes come half a minute apart, so there the processes meet before the step
    over their own, patient channel, which tells it as well. NCCL's wait: there nothing else is sent for it.

    Args:
        rides: whether the steps exchange `told()`, added up over the processes, and give the sum to `hear`.
    """

    def __init__(self, world: World, rides: bool) -> None:
        self._world = world
        self._rides = rides and not world.is_single and world.collectives_wait
        self._told: Sequence[float] = (0.0,) * TOLD
        self._agreed: Optional[Agreement] = None

    def begin(self, save: bool, signum: Optional[int], memory: bool = False) -> None:
        """A step begins after which this process, if it is rank 0, wants to save, and which got that signal, if any."""
        wanted = (float(each and self._world.is_main) for each in (save, memory))
        self._told = (*wanted, *(float(signum == each) for each in _SIGNALS))
        self._agreed = None if self._rides else self._world.agree(save, signum, memory)

    def told(self) -> Optional[Sequence[float]]:
        """What this process has to say about the step under way, as numbers [TOLD]; None if all know it already."""
        return self._told if self._rides else None

    def hear(self, told: Sequence[float]) -> None:
        """Take in the sum of what all have said."""
        if self._rides:
            save, memory, *signals = told
            signum = next((each for each, count in zip(_SIGNALS, signals) if count), None)
            self._agreed = Agreement(bool(save), signum, bool(memory))

    def end(self) -> Agreement:
        """What all do now that the step is made."""
        assert self._agreed is not None  # Every step of such a run exchanges.
        return self._agreed
