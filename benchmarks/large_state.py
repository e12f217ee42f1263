"""Saves and restores of a model and its optimizer of a given size, beside their peers; run in a process of its own.

python -m benchmarks.large_state '{"part": "times", "size": BYTES, "rounds": N, "folder": FOLDER}'
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle
import xxhash

from benchmarks.child_process import await_answer, report
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.record import SUFFIX
from paddle_resume.environment import Environment
from paddle_resume.owners.model import ParameterNames
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.owners.tensor_views import fill
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.stateful import Owners

_WIDTH = 256
_LARGE, _SMALL = 4, 40
_CHUNK = 1 << 26
_SUFFIXES = (".pdparams", ".pdopt")


class Weights(paddle.nn.Layer):
    """Four matrices that hold nearly everything, and forty vectors, of `count` numbers in all (or a few less)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        rows = max(1, (count - _SMALL * _WIDTH) // (_LARGE * _WIDTH))
        for shape, copies in (([rows, _WIDTH], _LARGE), ([_WIDTH], _SMALL)):
            for number in range(copies):
                self.add_parameter(f"weight{len(shape)}_{number}", self.create_parameter(shape))


class State:
    """A model with Adam whose weights and two moments together take `size` bytes, and the owners of all that."""

    def __init__(self, size: int, world: Optional[World] = None) -> None:
        self.model = Weights(size // 3 // 4)
        self.optimizer = paddle.optimizer.Adam(parameters=self.model.parameters())
        names = ParameterNames(self.model)
        # Made by a step they would come with gradients, and the memory of those would hide some of a save's.
        OptimizerState(self.optimizer, names).create_accumulators({n for n, _ in self.model.named_parameters()})
        random = np.random.default_rng(0)
        for tensor in [*self.model.state_dict().values(), *self.optimizer.state_dict().values()]:
            # A disk may have a quick way to write zeros.
            if isinstance(tensor, paddle.Tensor) and tensor.size > 1:
                fill(tensor, random.random(tensor.shape, np.float32))
        random_streams = RandomStreams()
        random_streams.begin_step(0)  # What lets Paddle 2.6 save and restore it.
        self.owners = Owners(
            environment=Environment(),
            **paddle_owners(self.model, {"": self.optimizer}),
            rng=PerRank(random_streams, world or World()),
        )

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Model and optimizer with the suffixes of their files."""
        yield ".pdparams", self.model
        yield ".pdopt", self.optimizer

    def arrays(self) -> list[np.ndarray]:
        """The bytes of every tensor that a save stores, without a copy."""
        owned = {**self.owners["model"].state_dict(), **self.owners["optimizer"].state_dict()}
        return [array.reshape(-1).view(np.uint8) for array in owned.values() if isinstance(array, np.ndarray)]


class Contest:
    """The timed contestants over one state; `seconds` has a value a round for each name."""

    def __init__(self, size: int, folder: Path) -> None:
        self._state = State(size)
        self._folder = folder
        self._checkpointer = CheckpointEngine(folder, "large", keep=1)
        self._checkpointer.prepare()
        self._arrays = self._state.arrays()
        self.bytes = sum(array.nbytes for array in self._arrays)
        self._step = 0
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def first(self) -> None:
        """What happens once: memory is new, and the writer process still starts."""
        begun = time.perf_counter()
        self._buffer = np.empty(self.bytes, np.uint8)
        self._copy()
        self.seconds["first copyto"].append(time.perf_counter() - begun)
        self._save("first stall", "first persist")

    def round(self, number: int) -> None:
        """Every contestant once, in an order that turns and rotates: disk and cache remember who was there."""
        contestants: list[tuple[str, Callable[[], None]]] = [
            ("copyto", self._copy),
            ("save", lambda: self._save("stall", "persist")),
            ("raw write", self._raw_write),
            ("restore", self._restore),
            ("read and digest", self._read_and_digest),
            ("paddle.save", self._paddle_save),
            ("paddle.load", self._paddle_load),
        ]
        if number % 2:
            contestants.reverse()
        first = number // 2 % len(contestants)
        for name, run in (*contestants[first:], *contestants[:first]):
            # Loading may have given the tensors other memory.
            self._arrays = self._state.arrays()
            os.sync()  # Nobody pays for what the one before has left to be written.
            self._time(name, run)
            for written in ("raw", *(f"paddle{suffix}" for suffix in _SUFFIXES)):
                # So that the disk need not write later what nobody waits for.
                (self._folder / written).unlink(missing_ok=True)

    def close(self) -> None:
        self._checkpointer.close()

    def _time(self, name: str, run: Callable[[], None]) -> None:
        begun = time.perf_counter()
        run()
        self.seconds[name].append(time.perf_counter() - begun)

    def _save(self, stall: str, persist: str) -> None:
        self._step += 1
        begun = time.perf_counter()
        self._prefix = self._checkpointer.save(self._step, self._state.owners)
        submitted = time.perf_counter()
        self._checkpointer.wait()
        self.seconds[stall].append(submitted - begun)
        self.seconds[persist].append(time.perf_counter() - submitted)
        await_one_checkpoint(self._folder)

    def _copy(self) -> None:
        start = 0
        for array in self._arrays:
            np.copyto(self._buffer[start : start + array.nbytes], array)
            start += array.nbytes

    def _paddle_save(self) -> None:
        for suffix, part in self._state.parts():
            paddle.save(part.state_dict(), str(self._folder / f"paddle{suffix}"))

    def _paddle_load(self) -> None:
        for suffix, part in self._state.parts():
            part.set_state_dict(paddle.load(f"{self._prefix}{suffix}"))

    def _raw_write(self) -> None:
        fd = os.open(self._folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.posix_fallocate(fd, 0, self.bytes)
        data = memoryview(self._buffer.data)
        while data:
            data = data[os.write(fd, data[:_CHUNK]) :]
        os.fsync(fd)
        os.close(fd)

    def _restore(self) -> None:
        assert self._checkpointer.restore(self._state.owners, str(self._prefix)) is not None

    def _read_and_digest(self) -> None:
        for suffix in _SUFFIXES:
            path = self._prefix.with_name(self._prefix.name + suffix)
            content = np.empty(path.stat().st_size, np.uint8)
            with path.open("rb", buffering=0) as file:
                window = memoryview(content.data)
                while window:
                    window = window[file.readinto(window) :]
            xxhash.xxh3_128_hexdigest(content.data)


def await_one_checkpoint(folder: Path) -> None:
    """The checkpoint before is still being removed when one is durable: not at the cost of what is timed next."""
    while len(list(folder.glob(f"*{SUFFIX}"))) + len(list(folder.glob(".*.removed"))) > 1:
        time.sleep(0.01)


def time_all(size: int, rounds: int, folder: Path) -> None:
    """Report after each round, and at the end the seconds of every contestant and the bytes of the state."""
    contest = Contest(size, folder)
    contest.first()
    for number in range(rounds):
        contest.round(number)
        report({"round": number + 1})
    contest.close()
    report({"seconds": contest.seconds, "bytes": contest.bytes, "environment": Environment().state_dict()})


def hold_still_for_memory(part: str, size: int, folder: Path) -> None:
    """Report the size; then, each time that the parent answers, save (twice) or restore, and report that it is done."""
    state = State(size)
    checkpointer = CheckpointEngine(folder, "large", keep=1)
    # The writer process has started, and has its libraries, when this save is done.
    checkpointer.save(0, {"rng": state.owners["rng"]})
    checkpointer.wait()
    if part == "restore memory":
        prefix = str(checkpointer.save(1, state.owners))
        checkpointer.wait()
        checkpointer.close()
        checkpointer = CheckpointEngine(folder, "large")
        checkpointer.prepare()
    report({"bytes": sum(array.nbytes for array in state.arrays())})
    await_answer()
    if part == "restore memory":
        checkpointer.restore(state.owners, prefix)
    else:
        for step in (1, 2):
            checkpointer.save(step, state.owners)
            checkpointer.wait()
    report({"done": part})
    await_answer()
    checkpointer.close()


if __name__ == "__main__":
    paddle.set_device("cpu")
    spec: dict[str, Any] = json.loads(sys.argv[1])
    if spec["part"] == "environment":
        report(Environment().state_dict())
    elif spec["part"] == "times":
        time_all(spec["size"], spec["rounds"], Path(spec["folder"]))
    else:
        hold_still_for_memory(spec["part"], spec["size"], Path(spec["folder"]))
