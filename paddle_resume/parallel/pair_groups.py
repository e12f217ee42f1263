"""Paddle's groups of two of a run's processes, each connected through a store of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import paddle
from paddle.base.core import TCPStore
from paddle.distributed import collective

from paddle_resume.parallel.ports import free_ports
from paddle_resume.parallel.world import World

_STORE_SECONDS = 60
Pair = tuple[int, int]


def groups_of_two(world: World, pairs: Sequence[Pair]) -> dict[Pair, Any]:
    """Paddle's groups of those of `pairs` that this process is in, in their order; None is the group of all.

    All processes call this together, with the same pairs of ranks. Raises RankError if a process is gone.
    """
    if world.size <= 2:
        return dict.fromkeys(pairs)
    groups = {}
    with world.collective(), contextlib.ExitStack() as stores:
        ports = {} if world.collectives_wait else stores.enter_context(_stores(world, pairs))
        for pair in pairs:
            # Every process has to make every group.
            with _own_store(ports[pair]) if pair in ports and world.rank in pair else contextlib.nullcontext():
                group = paddle.distributed.new_group(list(pair))
            if world.rank in pair:
                groups[pair] = group
        paddle.distributed.barrier()
    return groups


@contextlib.contextmanager
def _stores(world: World, pairs: Sequence[Pair]) -> Iterator[dict[Pair, int]]:
    """The port, at rank 0, of a store for each pair, while the pairs connect.

    Of the two contexts that Paddle (2.6 to 3.3) makes for a group with gloo, one notes its addresses under the rank
    in the group alone. In one store for all, a process may find there the address that was meant for another group:
    it fails then ("sizeof(impl_) == bytes.size()"), or waits for ever.
    """
    ports = dict(zip(pairs, free_ports(len(pairs)))) if world.is_main else {}
    stores = [TCPStore(_host(), port, True, 1, _STORE_SECONDS) for port in ports.values()]
    yield world.broadcast_object(ports)
    stores.clear()


@contextlib.contextmanager
def _own_store(port: int) -> Iterator[None]:
    """Inside, Paddle connects a new group through the store at this port."""
    before = collective._default_store
    collective._set_default_store(TCPStore(_host(), port, False, 1, _STORE_SECONDS))
    try:
        yield
    finally:
        collective._set_default_store(before)


def _host() -> str:
    """Rank 0's, where the processes of this run have met before."""
    return os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0].rpartition(":")[0]
