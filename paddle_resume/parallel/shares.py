"""The shares into which an elastic run cuts every batch, and which of them this process holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from paddle_resume.errors import ConfigError
from paddle_resume.parallel.world import World


@dataclass(frozen=True)
class Shares:
    """`count` shares, fixed for the life of a run, of which each process holds as many, adjacent ones.

    Every sum over shares is made in one binary tree over their indices. What a process holds is a whole subtree of it,
    whatever the number of processes, so that the sum does not depend on that number.
    """

    count: int
    mine: range

    @classmethod
    def of(cls, count: Optional[int], world: World) -> Optional[Shares]:
        """Those of this process; None for a run that is not elastic.

        Raises ConfigError if `count` is no power of two, or the processes do not divide it.
        """
        if count is None:
            return None
        if type(count) is not int or not is_power_of_two(count):
            raise ConfigError(
                f"parallel.elastic is {count!r}: expected a power of two, the number "
                "of shares into which every batch is cut, such as 4."
            )
        if count % world.size:
            fitting = [str(1 << i) for i in range(count.bit_length())]
            raise ConfigError(
                f"parallel.elastic: {count} is for {' or '.join([', '.join(fitting[:-1]), fitting[-1]])} processes, "
                f"each with as many shares of a batch, and {world.size} were started. Start another number of them."
                if len(fitting) > 1
                else f"parallel.elastic: 1 is for one process, and {world.size} were started. Start one, or begin a "
                "run with more shares."
            )
        each = count // world.size
        return cls(count, range(world.rank * each, (world.rank + 1) * each))


def is_power_of_two(count: int) -> bool:
    """Whether it is 1, 2, 4, 8, ..."""
    return count >= 1 and not count & (count - 1)
