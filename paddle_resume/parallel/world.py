"""The processes that train one model together: who this one is, and what they agree on and exchange.

Paddle is imported where it is used: the engine, which works without it, needs a world too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Optional

from paddle_resume.differences import reported_by, sentences
from paddle_resume.errors import PaddleResumeError, ParallelError, RankError, StateError
from paddle_resume.parallel.channel import Channel, Failure
from paddle_resume.parallel.rendezvous import meet
from paddle_resume.stateful import Compared

if TYPE_CHECKING:
    import paddle

TIMEOUT = 600.0
"""How many seconds the processes wait for each other before they say who is missing, and stop."""
_START_SECONDS = TIMEOUT
_LAST_WORDS_SECONDS = 5.0


class Agreement(NamedTuple):
    """What all processes do after the step that they begin now."""

    save: bool
    """Rank 0 wants to save."""
    signum: Optional[int]
    """The signal on which to stop, whichever process it reached."""
    memory: bool = False
    """Rank 0 wants to keep the step in memory."""


class World:
    """This process among `size`, ranks 0 to size - 1; rank 0 writes, logs and talks.

    `World.current()` is the one of this process: the one that `python -m paddle.distributed.launch` made, or, without
    it, a world of one, in which nothing below costs anything.
    """

    _current: ClassVar[Optional[World]] = None

    def __init__(self, rank: int = 0, size: int = 1, channel: Optional[Channel] = None) -> None:
        self.rank = rank
        self.size = size
        self._channel = channel
        self._ended = False

    @classmethod
    def current(cls) -> World:
        """The world of this process; started by the first call, which waits for all processes.

        Raises ParallelError if they do not come.
        """
        if cls._current is None:
            size = int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)
            cls._current = cls._start(size) if size > 1 else cls()
        return cls._current

    @classmethod
    def beside_program(cls) -> World:
        """The world of a program that connects Paddle's collectives by itself: only what is agreed on goes here.

        Raises ParallelError if the processes do not come.
        """
        size, rank = int(os.environ.get("PADDLE_TRAINERS_NUM") or 1), int(os.environ.get("PADDLE_TRAINER_ID") or 0)
        return cls(rank, size, meet(rank, size, _START_SECONDS, TIMEOUT, connects=False)) if size > 1 else cls()

    @property
    def is_single(self) -> bool:
        return self.size == 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def collectives_wait(self) -> bool:
        """Whether a collective waits for a late process, as NCCL's do, however long; gloo's end after 30 seconds."""
        import paddle

        return paddle.distributed.get_backend().upper() == "NCCL"

    def agree(self, save: bool = False, signum: Optional[int] = None, memory: bool = False) -> Agreement:
        """Wait for all processes, and learn what they do together."""
        if self._channel is None:
            return Agreement(save, signum, memory)
        return self._channel.round((save, signum, memory), _agreement)

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        return [value] if self._channel is None else self._channel.round(value, list)

    def broadcast_object(self, value: Any) -> Any:
        """What rank 0 gave; what the others give does not count."""
        if self._channel is None:
            return value
        return self._channel.round(value if self.is_main else None, lambda values: values[0])

    def set_timeout(self, seconds: float) -> None:
        """How long to wait for another process before saying that it is missing."""
        if self._channel is not None:
            self._channel.timeout = seconds

    def all_reduce(self, tensor: paddle.Tensor) -> paddle.Tensor:
        """The sum over all processes, in place."""
        if not self.is_single:
            import paddle

            with self.collective():
                paddle.distributed.all_reduce(tensor)
        return tensor

    def average_gradients(self, parameters: Iterable[paddle.Tensor], weight: float = 1.0) -> None:
        """Replace every gradient by the mean of all processes', by Paddle's fused all-reduce.

        This process's counts `weight` times.
        """
        if self.is_single:
            return
        from paddle.distributed.fleet.utils.hybrid_parallel_util import fused_allreduce_gradients

        from paddle_resume.parallel.sparse_gradients import average_sparse

        with_gradient: list[Any] = [p for p in parameters if p.grad is not None]
        dense = [p for p in with_gradient if not p.grad.is_selected_rows()]
        if weight != 1:
            for parameter in dense:
                parameter.grad.set_value(parameter.grad * weight)
        with self.collective():
            fused_allreduce_gradients(dense, None)
        for parameter in with_gradient:
            if parameter.grad.is_selected_rows():
                average_sparse(parameter.grad, weight, self.size, self.gather)

    def broadcast(self, tensors: Sequence[paddle.Tensor], source: int = 0) -> None:
        """Give every process the values of rank `source`, in place; one broadcast for each data type."""
        if self.is_single or not tensors:
            return
        import paddle

        kinds: dict[Any, list[paddle.Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        with self.collective(), paddle.no_grad():
            for group in kinds.values():
                flat = paddle.concat([tensor.reshape([-1]) for tensor in group])
                paddle.distributed.broadcast(flat, src=source)
                if self.rank != source:
                    for tensor, part in zip(group, paddle.split(flat, [tensor.size for tensor in group])):
                        tensor.set_value(part.reshape(tensor.shape))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, an error of this process is told to the others, which then end too.

        An error that they told this one comes out as RankError.
        """
        try:
            yield
        except RankError:
            self._ended = True
            raise
        except Exception as error:
            self.fail(error)
            raise

    @contextmanager
    def refused_together(self) -> Iterator[None]:
        """Inside, what one process refuses by StateError is refused by all of them, as they leave."""
        refused = ""
        try:
            yield
        except StateError as error:
            refused = str(error)
        for reason in self.gather(refused):
            if reason:
                raise StateError(reason)

    def fail(self, error: BaseException) -> None:
        """Tell the other processes that this one ends with `error`."""
        if self._channel is not None and not self._ended:
            self._ended = True
            if isinstance(error, PaddleResumeError):
                failure = Failure(self.rank, str(error), error.exit_code)
            else:
                failure = Failure(self.rank, f"{type(error).__name__}: {error}")
            self._channel.send_failure(failure)

    @contextmanager
    def collective(self) -> Iterator[None]:
        """Inside, Paddle's error for a collective with a dead process, as one that says which."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            assert self._channel is not None
            found = self._channel.heard(_LAST_WORDS_SECONDS)
            if found is None:
                reason = " ".join(str(error).split())[-200:]
                others = " or ".join(str(rank) for rank in range(self.size) if rank != self.rank)
                found = RankError(
                    f"rank {others} did not take part in a step and has not ended either: it hangs, or cannot be "
                    f"reached ({reason}). Run the same command again to continue from the last checkpoint."
                )
            raise found from error

    @classmethod
    def _start(cls, size: int) -> World:
        import paddle

        channel = meet(int(os.environ.get("PADDLE_TRAINER_ID") or 0), size, _START_SECONDS, TIMEOUT)
        try:
            paddle.distributed.init_parallel_env()
        except (RuntimeError, ValueError, OSError) as error:
            channel.close()
            reason = " ".join(str(error).split())[-300:]
            raise ParallelError(f"The {size} processes of this run could not connect: {reason}.") from error
        return cls(paddle.distributed.get_rank(), size, channel)


def compare(world: World, owners: Mapping[str, Compared]) -> None:
    """Raises ParallelError if what this process has differs from rank 0, as the owners' `differences` tell."""
    states = world.broadcast_object({name: owner.state_dict() for name, owner in owners.items()})
    found = [one for name, owner in owners.items() for one in reported_by(name, owner.differences(states[name]))]
    if found:
        raise ParallelError(
            f"started differently than rank 0: {sentences(found)}. All processes need the same config, data and "
            "environment; with --allow-inexact they may differ."
        )
    world.agree()


def _agreement(given: list[tuple[bool, Optional[int], bool]]) -> Agreement:
    signals = {signum for _, signum, _ in given if signum is not None}
    stop = signal.SIGTERM if signal.SIGTERM in signals else next(iter(signals), None)
    save, _, memory = given[0]
    return Agreement(save, stop, memory)
