"""Owner of the resolved config: recorded in every checkpoint, compared on resume, never restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from paddle_resume.config.trajectory import config_difference, trajectory_differences
from paddle_resume.differences import Difference


class ConfigState:
    """Compares the fields that alter the trajectory; the others may change from one start to the next.

    So may those callbacks whose names `only_watches` is true of.
    """

    def __init__(self, resolved: dict[str, Any], only_watches: Callable[[str], bool] = lambda callback: False) -> None:
        self._resolved = resolved
        self._only_watches = only_watches

    def state_dict(self) -> dict[str, Any]:
        return self._resolved

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        found = trajectory_differences(self._taking_part(state), self._taking_part(self._resolved))
        if _watched(self._resolved) or self._resolved.get("best"):
            # Evaluations move the rate, and say which is the best; otherwise they leave no trace in the trajectory.
            before, after = (config["trainer"].get("evaluate_every") for config in (state, self._resolved))
            found += [config_difference("trainer.evaluate_every", before, after)] if before != after else []
        return found

    def _taking_part(self, config: Mapping[str, Any]) -> dict[str, Any]:
        callbacks = [each for each in config.get("callbacks", []) if not self._only_watches(each["name"])]
        return {**config, "callbacks": callbacks}


def _watched(resolved: dict[str, Any]) -> Any:
    """The metric that the learning rate depends on, if it does."""
    rate = resolved["optimizer"]["lr"]
    return rate.get("metric") if isinstance(rate, dict) else None
