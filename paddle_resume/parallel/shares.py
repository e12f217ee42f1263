"""The shares into which an elastic run cuts every batch, and which of them this process holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from paddle_resume.errors import ConfigError
from paddle_resume.parallel.exchange import PAIRS, SERVER
from paddle_resume.parallel.world import World


@dataclass(frozen=True)
class Shares:
    """`count` shares, fixed for the life of a run, of which each process holds as many, adjacent ones.

    Every sum over shares is made in one binary tree over their indices. What a process holds is a whole subtree of it,
    whatever the number of processes, so that the sum does not depend on that number. A parameter server holds none.
    """

    count: int
    mine: range

    @classmethod
    def of(cls, count: Optional[int], world: World, exchange: str = PAIRS) -> Optional[Shares]:
        """Those of this process; None for a run that is not elastic.

        Raises ConfigError if `count` is no power of two, or the processes do not divide it.
        """
        has_server = exchange == SERVER
        if count is None:
            if exchange != PAIRS:
                raise ConfigError(
                    f"parallel.exchange: {exchange} is an exchange of elastic runs, and parallel.elastic is not "
                    "set: set it to the number of shares into which every batch is cut, such as 4, or leave the "
                    "exchange out."
                )
            return None
        if type(count) is not int or not is_power_of_two(count):
            raise ConfigError(
                f"parallel.elastic is {count!r}: expected a power of two, the number "
                "of shares into which every batch is cut, such as 4."
            )
        if has_server and world.is_single:
            raise ConfigError(
                "parallel.exchange: server needs a process for the server and at least one that trains, and 1 process "
                "was started. Start 2 or more with python -m paddle.distributed.launch; or set "
                "parallel.exchange: pairs, which goes on with one process and keeps the bits."
            )
        holders = world.size - has_server
        if count % holders:
            fitting = [str((1 << i) + has_server) for i in range(count.bit_length())]
            if has_server:
                raise ConfigError(
                    f"parallel.elastic: {count} with parallel.exchange: server is for {_either(fitting)} processes, of "
                    f"which one is the server and the others have as many shares of a batch each, and {world.size} "
                    "were started. Start another number of them."
                )
            raise ConfigError(
                f"parallel.elastic: {count} is for {_either(fitting)} processes, "
                f"each with as many shares of a batch, and {world.size} were started. Start another number of them."
                if len(fitting) > 1
                else f"parallel.elastic: 1 is for one process, and {world.size} were started. Start one, or begin a "
                "run with more shares."
            )
        each, place = count // holders, world.rank - has_server
        return cls(count, range(place * each, (place + 1) * each) if place >= 0 else range(0))


def _either(numbers: Sequence[str]) -> str:
    return " or ".join([", ".join(numbers[:-1]), numbers[-1]] if len(numbers) > 1 else numbers)


def is_power_of_two(count: int) -> bool:
    """Whether it is 1, 2, 4, 8, ..."""
    return count >= 1 and not count & (count - 1)
