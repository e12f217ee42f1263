"""Owner of the resolved config: recorded in every checkpoint, compared on resume, never restored."""

from __future__ import annotations

from typing import Any

from paddle_resume.config.trajectory import trajectory_differences

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
        return [line for line in lines if line.split(":")[0] not in _OF_THE_FEED]
