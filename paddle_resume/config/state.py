"""Owner of the resolved config: recorded in every checkpoint, compared on resume, never restored."""

from __future__ import annotations

from typing import Any

from paddle_resume.config.trajectory import trajectory_differences
from paddle_resume.config.wording import show

# These the data feed compares itself, since it is also used without a config.
_OF_THE_FEED = ("run.seed", "data.batch_size", "data.shuffle", "data.drop_last")


class ConfigState:
    """Compares the fields that alter the trajectory; the others may change from one start to the next."""

    def __init__(self, resolved: dict[str, Any]) -> None:
        self._resolved = resolved

    def state_dict(self) -> dict[str, Any]:
        return self._resolved

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the config of this start is the one in force."""

    def differences(self, state: dict[str, Any]) -> list[str]:
        lines = trajectory_differences(state, self._resolved)
        if _watched(self._resolved):
            # Each evaluation moves the rate; otherwise they leave no trace in the trajectory.
            then, now = (config["trainer"].get("evaluate_every") for config in (state, self._resolved))
            lines += [f"trainer.evaluate_every: {show(then)} -> {show(now)}"] if then != now else []
        return [line for line in lines if line.split(":")[0] not in _OF_THE_FEED]


def _watched(resolved: dict[str, Any]) -> Any:
    """The metric that the learning rate depends on, if it does."""
    rate = resolved["optimizer"]["lr"]
    return rate.get("metric") if isinstance(rate, dict) else None
