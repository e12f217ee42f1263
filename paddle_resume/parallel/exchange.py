"""Sums over the processes of an elastic run, in one fixed order whatever their number.

Of the processes that hold shares the r-th holds the r-th of as many equal subtrees over them. What is left to add is
the top of that tree: (0 + 1) + (2 + 3) and so on. An all-reduce over all processes would add in an order of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Optional

import paddle

from paddle_resume.parallel.pair_groups import groups_of_two
from paddle_resume.parallel.world import World

PAIRS, HALVING, SERVER = "pairs", "halving", "server"
KINDS = (PAIRS, HALVING, SERVER)


class Tree:
    """Adds parts 0, 1, 2, ..., 2**n - 1 as they come, in the order of a binary tree; holds n + 1 of them at most.

    A part is a list of tensors.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, list[paddle.Tensor]]] = []

    def add(self, part: list[paddle.Tensor]) -> None:
        """Take in the next part, which is used up."""
        level = 0
        while self._waiting and self._waiting[-1][0] == level:
            part = [mine.add_(other) for mine, other in zip(self._waiting.pop()[1], part)]
            level += 1
        self._waiting.append((level, part))

    def sum(self) -> list[paddle.Tensor]:
        """The sum of all of them."""
        ((_, total),) = self._waiting
        return total


class Exchange(ABC):
    """Adds up one flat tensor of each process; whoever updates the weights gets the same bits."""

    updates_here = True
    """Whether this process updates the weights; else it gets them from the one that does."""
    hands_out = False
    """Whether one process updates them for all."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def is_needed(self) -> bool:
        """Whether there are other processes."""
        return not self._world.is_single

    def sum(self, flat: paddle.Tensor) -> Optional[paddle.Tensor]:
        """The sum over all processes where the weights are updated, else None; `flat` is used up.

        Raises RankError if a process is gone.
        """
        with self._world.collective(), paddle.no_grad():
            return self._sum(flat)

    def hand_out(self, tensors: Sequence[paddle.Tensor]) -> None:
        """Give all processes, in place, what the one holds that updates for all."""
        self._world.broadcast(tensors)

    @abstractmethod
    def _sum(self, flat: paddle.Tensor) -> Optional[paddle.Tensor]: ...


class Pairs(Exchange):
    """One all-reduce for each level of the tree, between two processes: a sum of two is free of order."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        levels = _levels(world.size)
        pairs = [(low, low | level) for level in levels for low in range(world.size) if not low & level]
        self._groups = groups_of_two(world, pairs)

    def _sum(self, flat: paddle.Tensor) -> paddle.Tensor:
        for group in self._groups.values():
            paddle.distributed.all_reduce(flat, group=group)
        return flat


class Halving(Exchange):
    """Recursive halving, then doubling: each process adds up a part of its own, then all parts are brought together.

    It sends 2 (1 - 1/size) times the tensor where `Pairs` sends it log2(size) times.
    """

    def _sum(self, flat: paddle.Tensor) -> paddle.Tensor:
        length, rank = flat.shape[0], self._world.rank
        rest = -length % self._world.size
        part = paddle.concat([flat, paddle.zeros([rest], flat.dtype)]) if rest else flat
        levels = _levels(self._world.size)
        for level in levels:
            halves = paddle.split(part, 2)
            kept, given = halves[:: -1 if rank & level else 1]
            part = kept + self._swap(given, rank ^ level)
        for level in reversed(levels):
            other = self._swap(part, rank ^ level)
            part = paddle.concat([other, part] if rank & level else [part, other])
        return part[:length] if rest else part

    def _swap(self, given: paddle.Tensor, peer: int) -> paddle.Tensor:
        got = paddle.empty(given.shape, given.dtype)
        if self._world.rank < peer:
            paddle.distributed.send(given, dst=peer)
            paddle.distributed.recv(got, src=peer)
        else:
            paddle.distributed.recv(got, src=peer)
            paddle.distributed.send(given, dst=peer)
        return got


class Server(Exchange):
    """A parameter server: rank 0 holds no shares; it adds up what the trainers push, and hands out updated weights."""

    hands_out = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.updates_here = world.is_main
        # In a group of all, gloo would match each process's n-th send with another one's n-th.
        self._groups = groups_of_two(world, [(0, trainer) for trainer in range(1, world.size)])
        self._meets_before = not world.collectives_wait

    def sum(self, flat: paddle.Tensor) -> Optional[paddle.Tensor]:
        self._meet()  # The server has waited for all that the trainers compute,
        return super().sum(flat)

    def hand_out(self, tensors: Sequence[paddle.Tensor]) -> None:
        self._meet()  # and they for its update.
        super().hand_out(tensors)

    def _meet(self) -> None:
        if self._meets_before:
            self._world.agree()

    def _sum(self, flat: paddle.Tensor) -> Optional[paddle.Tensor]:
        tree = Tree()
        for (_, trainer), group in self._groups.items():
            if trainer == self._world.rank:
                paddle.distributed.send(flat, dst=0, group=group)
                return None
            pushed = paddle.empty_like(flat)
            paddle.distributed.recv(pushed, src=trainer, group=group)
            tree.add([pushed])  # And no zeros of its own: -0.0 + 0.0 is 0.0.
        (total,) = tree.sum()
        return total


def make_exchange(kind: str, world: World) -> Exchange:
    """The exchange `pairs`, `halving` or `server` between the processes; all of them call this together."""
    kinds: dict[str, type[Exchange]] = {PAIRS: Pairs, HALVING: Halving, SERVER: Server}
    return kinds[kind](world)


def _levels(size: int) -> list[int]:
    return [1 << i for i in range(size.bit_length() - 1)]
