"""The checkpoint interval by Young's and Daly's formulas, and the overhead of any interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Overhead:
    """What a run takes beyond its useful work, as shares of that work: 0.01 is 1 %."""

    saves: float
    """Training that stands still for the saves that a run without failures would make."""
    lost: float
    """Work made again, with the saves in it, and the wait for what was not durable yet."""
    restarts: float
    """The time from failures until training goes on."""

    @property
    def total(self) -> float:
        return self.saves + self.lost + self.restarts


@dataclass(frozen=True)
class Costs:
    """What decides the interval; all times are in seconds. Failures come at random, at the same rate always."""

    stall: float
    """A save stops training for so long."""
    mtbf: float
    """The mean time between two failures of the whole run: that of a node, divided by the number of nodes."""
    step: float
    persist: float = 0.0
    """After its stall, a checkpoint counts only when it is durable, so much later."""
    restart: float = 0.0
    """From a failure until training goes on from the newest checkpoint."""

    @property
    def young(self) -> float:
        """sqrt(2 stall mtbf), the optimum to first order.

        J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM 17(9),
        1974.
        """
        return math.sqrt(2 * self.stall * self.mtbf)

    @property
    def daly(self) -> float:
        """The optimum to higher order, without the stall itself; mtbf where a save takes longer than two of them.

        J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
        Computer Systems 22(3), 2006, equation 37.
        """
        if self.stall >= 2 * self.mtbf:
            return self.mtbf
        ratio = self.stall / (2 * self.mtbf)
        return self.young * (1 + math.sqrt(ratio) / 3 + ratio / 9) - self.stall

    def usable(self, interval: float) -> float:
        """`interval`, or the shortest that a run can have: one step, and the save before durable."""
        return max(interval, self.step, self.persist)

    def steps(self, interval: float) -> int:
        """The whole number of steps nearest to `interval`."""
        return max(1, round(interval / self.step))

    def overhead(self, interval: float) -> Overhead:
        """The expected overhead of saving after every `interval` seconds of training; not less than `persist`.

        Daly's complete model gives the time of a run as M exp(R/M) (exp((tau + delta)/M) - 1) T/tau, with the mean
        time M between failures, the restart R, the interval tau, the stall delta and the work T. Here a checkpoint
        becomes durable `persist` later, while training goes on. Between two instants at which one becomes durable lie
        tau + delta; an attempt after a failure has to make `persist` more, which training had already made. From
        E = M (1 - exp(-(tau + delta)/M)) exp((R + tau + delta + persist)/M) follows the same formula, with
        R + persist in place of R.
        """
        mtbf, segment = self.mtbf, interval + self.stall
        try:
            time = mtbf * math.exp((self.restart + self.persist) / mtbf) * math.expm1(segment / mtbf) / interval
        except OverflowError:
            time = math.inf  # It would practically never come to its end.
        saves = self.stall / interval
        # Failures come at the rate 1/M in all of that time, and each costs a restart, or as much as the next leaves.
        restarts = time * -math.expm1(-self.restart / mtbf) if self.restart else 0.0
        lost = math.inf if math.isinf(time) else max(0.0, time - 1 - saves - restarts)
        return Overhead(saves, lost, restarts)
