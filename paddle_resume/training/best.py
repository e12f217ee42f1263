"""The best evaluation so far, by one metric, and how many have gone by without a better one."""

from __future__ import annotations

import math
from typing import Any, Optional

from paddle_resume.checked_arguments import AT_LEAST_ONE, Rule, checked_class, one_of
from paddle_resume.differences import ConfigScope, Difference, compare_fields
from paddle_resume.errors import ConfigError

# What a metric's name says of its direction; everything else is better the higher it is.
_LOWER_IS_BETTER = ("loss", "error", "perplexity", "mae", "mse", "rmse")


_MONITOR = Rule('a metric of the validation data, such as "valid/acc"', lambda value: value.startswith("valid/"))
_DELTA = Rule("a number of 0 or more", lambda value: value >= 0)


@checked_class(
    monitor=_MONITOR,
    mode=one_of("auto", "max", "min"),
    min_delta=_DELTA,
    patience=AT_LEAST_ONE,
    final=one_of("last", "best"),
)
class Best:
    """Owner of the best value of a metric; says when an evaluation beats it, and when to give up waiting for that.

    Args:
        monitor: a metric with its split, such as `valid/acc`.
        mode: `max`, `min`, or `auto`: min for a loss or an error, else max.
        min_delta: by how much a value has to be better to count.
        patience: stop training after this many evaluations in a row without a better one; None never stops.
        final: which weights the finished model holds, those of the `last` step or of the `best` evaluation.
    """

    def __init__(
        self,
        monitor: str = "valid/acc",
        *,
        mode: str = "auto",
        min_delta: float = 0.0,
        patience: Optional[int] = None,
        final: str = "last",
    ) -> None:
        self.monitor = monitor
        self.min_delta = min_delta
        self.patience = patience
        self.final = final
        self.mode = mode
        if mode == "auto":
            name = monitor.rpartition("/")[2]
            self.mode = "min" if any(word in name for word in _LOWER_IS_BETTER) else "max"
        self.value: Optional[float] = None
        """The best value; None before the first evaluation."""
        self.step: Optional[int] = None
        """How many steps had been made when it was reached."""
        self.waited = 0
        """Evaluations since then."""

    @property
    def split(self) -> str:
        """The part of the data whose evaluations count."""
        return self.monitor.partition("/")[0]

    @property
    def gave_up(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    @property
    def why_gave_up(self) -> str:
        """What patience ran out for."""
        if self.value is None:
            return f"{self.monitor} was not a number in any of {self.waited} evaluations"
        return (
            f"{self.monitor} has not been better than {self.value:.6g}, reached by step {self.step}, for "
            f"{self.waited} evaluations"
        )

    def consider(self, results: dict[str, float], step: int) -> bool:
        """Take in the results of an evaluation by tag; returns whether they are the best so far.

        Raises ConfigError if they lack the metric. A value that is NaN is never better.
        """
        if self.monitor not in results:
            raise ConfigError(
                f"best.monitor: {self.monitor} is none of what the evaluation gives; use {', '.join(sorted(results))}."
            )
        value = results[self.monitor]
        if not self._is_better(value):
            self.waited += 1
            return False
        self.value, self.step, self.waited = value, step, 0
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "step": self.step,
            "waited": self.waited,
            "rule": {
                "monitor": self.monitor,
                "mode": self.mode,
                "min_delta": self.min_delta,
                "patience": self.patience,
            },
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        before, now = state["rule"], self.state_dict()["rule"]
        # A value of another metric says nothing of this one, and evaluations waited for another rule do not count.
        if (before["monitor"], before["mode"]) == (now["monitor"], now["mode"]):
            self.value, self.step = state["value"], state["step"]
            self.waited = state["waited"] if before["min_delta"] == now["min_delta"] else 0

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        before, now = state["rule"], self.state_dict()["rule"]
        return compare_fields("best.{}", before, now, scope=ConfigScope(("best",)), argument="Best({}=)")

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.value is None:
            return True
        return value > self.value + self.min_delta if self.mode == "max" else value < self.value - self.min_delta
