"""Batches from an `IterableDataset` that several worker processes read, in one order, with a position in each."""

from __future__ import annotations

import copy
import os
import pickle
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Callable

import numpy as np
import paddle
from paddle.io.dataloader import worker as paddle_worker

from paddle_resume.data.sample_loader import prepare_worker
from paddle_resume.data.stream import HeldByStream, Stream
from paddle_resume.errors import DataError
from paddle_resume.rng import derive_seed, preserved

_BATCH, _END, _FAILURE = "batch", "end", "failure"


class WorkerStreams:
    """One pass over an `IterableDataset` per epoch by several workers, resumable as a `Stream` is.

    Each worker has a copy of the dataset, which finds out by `paddle.io.get_worker_info()` what part of the stream is
    its own, as with Paddle's DataLoader; a batch is one worker's. They take turns, one batch each, and who has come to
    its end is passed over: the order depends on nothing but the stream and the number of workers. Paddle's own loader
    sees to the turns of streams of different lengths as they happen to end.

    Where the dataset has `state_dict()` and `set_state_dict()`, each batch brings its worker's along; a worker that is
    started again, also for the next epoch, goes on from there.
    """

    def __init__(self, dataset: Any, workers: int, *, seed: int, **options: Any) -> None:
        self._dataset = dataset
        self._workers = workers
        self._seed = seed
        self._options = options
        self._made = [self._stream(worker) for worker in range(workers)]
        self.replays = self._made[0].replays
        self._at_start = [stream.state_dict() for stream in self._made]
        self._states: list[dict[str, Any]] = copy.deepcopy(self._at_start)
        self._turn, self._ended, self._samples = 0, [False] * workers, [0] * workers
        self.held = HeldByStream()
        self._begun: Any = None

    def batches(self, epoch: int, samples: int) -> Iterator[list[Any]]:
        """The batches of `epoch` after its first `samples` samples, which have to be those that were handed out."""
        if samples == 0:
            self._begin_pass()
            self._begun = self.held.now()
        # Each worker has the dataset as it was when the pass began, also one that is started again.
        with self.held.as_at(self._begun) if samples and self._begun is not None else nullcontext():
            running = [None if ended else _Worker(self, worker, epoch) for worker, ended in enumerate(self._ended)]
        try:
            while not all(self._ended):
                worker, self._turn = self._turn, (self._turn + 1) % self._workers
                reader = running[worker]
                if reader is None:
                    continue
                kind, batch, state = reader.receive()
                self._states[worker] = state
                if kind == _END:
                    self._ended[worker], running[worker] = True, None
                    reader.close()
                    continue
                self._samples[worker] += len(batch[0])
                yield [_tensor(part) for part in batch]
        finally:
            for reader in running:
                if reader is not None:
                    reader.close()

    def first_epoch(self) -> Iterator[list[Any]]:
        """The batches of the first epoch, the same each time; the position is left as it was."""
        before = self.state_dict()
        self._states = copy.deepcopy(self._at_start)
        try:
            yield from self.batches(0, 0)
        finally:
            self.set_state_dict(before)

    def finish(self) -> None:
        """The pass has ended: the next epoch begins another."""
        self._begin_pass()

    def state_dict(self) -> dict[str, Any]:
        return {
            "turn": self._turn,
            "ended": list(self._ended),
            "samples": list(self._samples),
            "streams": copy.deepcopy(self._states),
            **({"begun": self._begun} if self._begun is not None else {}),
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        if len(state.get("ended", ())) != self._workers:
            raise DataError(
                f"The checkpoint is of a stream that another number of workers read than {self._workers}; set "
                "data.num_workers (in Python num_workers) as it was."
            )
        self._begun = state.get("begun")
        self._turn, self._ended = state["turn"], list(state["ended"])
        self._samples, self._states = list(state["samples"]), copy.deepcopy(state["streams"])

    def _begin_pass(self) -> None:
        self._turn = 0
        self._ended = [False] * self._workers
        self._samples = [0] * self._workers

    def _stream(self, worker: int) -> Stream:
        return Stream(self._dataset, seed=derive_seed(self._seed, worker), **self._options)

    def read(self, worker: int, epoch: int, send: Callable[[Any], None]) -> None:
        """In a worker: send the batches that are left for it, each with the stream's state behind it."""
        info: Any = paddle_worker.WorkerInfo(
            id=worker, num_workers=self._workers, dataset=self._dataset, seed=self._seed
        )
        paddle_worker._worker_info = info
        paddle.set_device("cpu")
        stream = self._made[worker]
        stream.convert = lambda batch: list(batch) if isinstance(batch, (list, tuple)) else [batch]
        stream.set_state_dict(self._states[worker])
        for batch in stream.batches(epoch, self._samples[worker]):
            send((_BATCH, [_array(part) for part in batch], stream.state_dict()))
        stream.finish()
        send((_END, None, stream.state_dict()))


class _Worker:
    """One worker process and the pipe from it."""

    def __init__(self, streams: WorkerStreams, worker: int, epoch: int) -> None:
        context = get_context("fork")
        self._number = worker
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(streams, worker, epoch, theirs), daemon=True)
        with preserved():
            self._process.start()
        theirs.close()

    def receive(self) -> tuple[str, Any, Any]:
        """What comes next from it; raises DataError if it failed or is gone."""
        try:
            kind, content, state = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            raise DataError(
                f"A data worker (pid {self._process.pid}) {how}: perhaps this machine or container has too little "
                "memory, then use fewer with data.num_workers. Run the same command again to continue from the last "
                "checkpoint."
            ) from error
        if kind == _FAILURE:
            raise DataError(content)
        return kind, content, state

    def close(self) -> None:
        """End it, whatever it does."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _work(streams: WorkerStreams, worker: int, epoch: int, pipe: Connection) -> None:
    prepare_worker(worker)
    try:
        streams.read(worker, epoch, lambda message: pipe.send_bytes(pickle.dumps(message, protocol=4)))
    except BrokenPipeError:
        pass  # The trainer needs no more.
    except DataError as error:
        pipe.send_bytes(pickle.dumps((_FAILURE, f"Data worker {worker}: {error}", None)))
    except BaseException as error:
        told = f"Data worker {worker} failed with {type(error).__name__}: {error}\n{traceback.format_exc()}"
        pipe.send_bytes(pickle.dumps((_FAILURE, told, None)))
    finally:
        pipe.close()
        os._exit(0)  # Nothing of the trainer's is to be tidied up here.


def _array(part: Any) -> Any:
    """Without tensors, which a pipe does not take."""
    if isinstance(part, paddle.Tensor):
        return _WasTensor(part.numpy())
    if isinstance(part, (list, tuple)):
        return type(part)(map(_array, part))
    return {key: _array(value) for key, value in part.items()} if isinstance(part, dict) else part


def _tensor(part: Any) -> Any:
    if isinstance(part, (_WasTensor, np.ndarray)):
        return paddle.to_tensor(part.array if isinstance(part, _WasTensor) else part)
    if isinstance(part, (list, tuple)):
        return type(part)(map(_tensor, part))
    return {key: _tensor(value) for key, value in part.items()} if isinstance(part, dict) else part


class _WasTensor:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
