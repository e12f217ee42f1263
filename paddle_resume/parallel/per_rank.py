"""State that each process has of its own, in one checkpoint."""

from __future__ import annotations

from typing import Any

from paddle_resume.parallel.world import World


class EachRank:
    """Owner of `owner`'s states in all processes; each gets its own back.

    In a world of another size the ranks that were not there before keep the state that they have.
    """

    across_ranks = True

    def __init__(self, owner: Any, world: World) -> None:
        self._owner = owner
        self._world = world

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": self._world.gather(self._owner.state_dict())}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if self._world.rank < len(state["ranks"]):
            self._owner.set_state_dict(state["ranks"][self._world.rank])

    def differences(self, state: dict[str, Any]) -> list[str]:
        if self._world.rank < len(state["ranks"]) and hasattr(self._owner, "differences"):
            return self._owner.differences(state["ranks"][self._world.rank])
        return []


class FirstRank:
    """Owner of what only rank 0 has, such as logs, as the other processes see it: nothing."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore here."""
