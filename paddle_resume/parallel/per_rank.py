"""State that each process has of its own, in one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddle_resume.differences import Difference
from paddle_resume.errors import StateError
from paddle_resume.parallel.world import World
from paddle_resume.stateful import WritesFiles


class PerRank:
    """Owner of `owner`'s states in all processes; each gets its own back.

    In a world of another size the ranks that were not there before keep the state that they have.
    """

    def __init__(self, owner: Any, world: World) -> None:
        self._owner = owner
        self._world = world
        self._gathered: list[Any] = []

    def prepare_save(self) -> None:
        """Have every process learn the states of all."""
        if not self._world.is_single:
            self._gathered = self._world.gather(self._owner.state_dict())

    def written_files(self) -> Sequence[Path]:
        """Those of this process."""
        return self._owner.written_files() if isinstance(self._owner, WritesFiles) else ()

    def state_dict(self) -> dict[str, Any]:
        """The states by rank, with several processes those of the last `prepare_save`; raises StateError before it."""
        if self._world.is_single:
            return {"ranks": [self._owner.state_dict()]}
        if not self._gathered:
            raise StateError("The states of several processes are known only after prepare_save() in all of them.")
        return {"ranks": self._gathered}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if self._world.rank < len(state["ranks"]):
            self._owner.set_state_dict(state["ranks"][self._world.rank])

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        if self._world.rank < len(state["ranks"]):
            return self._owner.differences(state["ranks"][self._world.rank])
        return []


class MainRanksFile:
    """Stands in the other processes for an owner with a file that only rank 0 has, such as a parameter server's."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def state_dict(self) -> dict[str, Any]:
        return {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """It is rank 0's."""


class MainRankOnly:
    """Stands in the other processes for an owner that only rank 0 has, such as a log: there is nothing to restore."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """It is rank 0's."""
