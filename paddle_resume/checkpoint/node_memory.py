"""The saves in memory of a run of several processes: each node keeps its own, and all go on from the same one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from paddle_resume.checkpoint.memory_tier import MemoryTier, shared_memory
from paddle_resume.checkpoint.reader import Loaded
from paddle_resume.checkpoint.snapshot import Files
from paddle_resume.parallel.world import World

Capture = Callable[[], tuple[str, Files]]


class NodeMemory:
    """The saves in memory of the run `name` in `save_dir`, which lie in the shared memory of each of its nodes.

    The first process of a node writes there what all of that node hold, and all of them read it. A save counts only if
    every process finds it whole: so one is never gone on from in which another node is a step behind, or was started
    anew. All processes call `save` and `newest`.
    """

    def __init__(self, save_dir: Path, name: str, world: World) -> None:
        self._tier = MemoryTier(save_dir, name)
        self._world = world

    def save(self, header: Mapping[str, Any], capture: Capture, after: Optional[Path]) -> Optional[Path]:
        """Keep what `capture` gives, in place of the older of two saves; returns the newest durable checkpoint.

        `after` is that checkpoint, as rank 0 knows it. Raises OSError, in all processes, if one has no room.
        """
        if self._world.is_single:
            self._tier.save(header, *capture(), after)
            return after
        failed = ""
        if self._world.is_main:
            failed = self._try(self._tier.have_place)
        place, life, after, failed = self._world.broadcast_object((self._tier.place, self._tier.life, after, failed))
        if not failed and self._is_first_of_node:
            self._tier.life = life
            failed = self._try(lambda: self._tier.have_place(place)) or self._try(
                lambda: self._tier.save(header, *capture(), after)
            )
        failures = [one for one in self._world.gather(failed) if one]
        if failures:
            raise OSError(failures[0])
        return after

    def newest(self, after: Optional[Path]) -> Optional[Loaded]:
        """The newest save that was made after the durable checkpoint `after` and that all processes have."""
        found = {kept.identity: kept for kept in self._tier.look(after)}
        every = self._world.gather(list(found))
        common = [identity for identity in every[0] if all(identity in each for each in every)]
        return self._tier.load(found[common[0]], after) if common else None

    def clear(self) -> None:
        """Forget all saves, and give the memory back; each process for its own node."""
        if self._world.is_main:
            self._tier.clear()
        else:
            self._tier.clear_here()

    def close(self, after: Optional[Path]) -> None:
        """The process ends or lets the run go; saves from before the newest durable checkpoint are of no more use."""
        if self._world.is_main:
            self._tier.close(after)
        else:
            self._tier.close_here()

    @cached_property
    def _is_first_of_node(self) -> bool:
        nodes = self._world.gather(shared_memory())
        return nodes.index(nodes[self._world.rank]) == self._world.rank

    @staticmethod
    def _try(do: Callable[[], None]) -> str:
        try:
            do()
        except OSError as error:
            return str(error)
        return ""
