"""What rounds say of a target: only what each of them says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

MET, MISSED, OPEN = "yes", "no", "open"


def verdict(ratios: Sequence[float], at_least: Optional[float] = None, at_most: Optional[float] = None) -> str:
    """MET or MISSED if the ratio of every round is within the target, or of none; else OPEN. Empty without a target."""
    if at_least is None and at_most is None:
        return ""
    low, high = -math.inf if at_least is None else at_least, math.inf if at_most is None else at_most
    within = {low <= ratio <= high for ratio in ratios}
    return OPEN if len(within) > 1 else MET if within == {True} else MISSED
