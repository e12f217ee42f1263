"""Sums over the processes of an elastic run, in one fixed order whatever their number.

Process r holds the r-th of as many equal subtrees over the shares. What is left to add is the top of that tree:
(0 + 1) + (2 + 3) and so on, over ranks. An all-reduce over all processes would add in an order of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import paddle

from paddle_resume.parallel.world import World

PAIRS, HALVING = "pairs", "halving"


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
    """Adds up one flat tensor of each process; every process gets the same bits."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def is_needed(self) -> bool:
        """Whether there are other processes."""
        return not self._world.is_single

    def sum(self, flat: paddle.Tensor) -> paddle.Tensor:
        """The sum over all processes; `flat` is used up. Raises RankError if a process is gone."""
        with self._world.collective(), paddle.no_grad():
            return self._sum(flat)

    @abstractmethod
    def _sum(self, flat: paddle.Tensor) -> paddle.Tensor: ...


class Pairs(Exchange):
    """One all-reduce for each level of the tree, between two processes: a sum of two is free of order."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._groups: list[Any] = []
        for level in _levels(world.size):
            for low in (rank for rank in range(world.size) if not rank & level):
                # Every process has to make every group, and gloo fails if two are made at the same time.
                with world.collective():
                    group = paddle.distributed.new_group([low, low | level])
                    paddle.distributed.barrier()
                if world.rank in (low, low | level):
                    self._groups.append(group)

    def _sum(self, flat: paddle.Tensor) -> paddle.Tensor:
        for group in self._groups:
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


def make_exchange(kind: str, world: World) -> Exchange:
    """The exchange `pairs` or `halving` between the processes; all of them call this together."""
    return (Halving if kind == HALVING else Pairs)(world)


def _levels(size: int) -> list[int]:
    return [1 << i for i in range(size.bit_length() - 1)]
