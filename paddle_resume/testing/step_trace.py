"""Writes down, as digests, what each step of a run is made of, so that two runs of one program can be compared.

A line of JSON for each step: the batch, the generators, the weights and the optimizer as it begins, its loss, and the
weights after it. For one step, which is the last one then, also every value in the order in which it is computed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import paddle

from paddle_resume.data.batch import Batch
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.testing.digests import digest_of
from paddle_resume.testing.layer_trace import LOSS, Event, LayerTrace
from paddle_resume.training.step_runner import StepRunner
from paddle_resume.training.trainer import Trainer

DATA, GENERATORS, WEIGHTS, OPTIMIZER = "data", "generators", "weights before", "optimizer before"
UPDATE = "update"


class StepTrace:
    """Traces the steps of every Trainer in this process into a file; looks into the step `look_into` (from 0)."""

    def __init__(self, path: Path, look_into: Optional[int] = None) -> None:
        self._path = path
        self._look_into = look_into
        self._trainer: Optional[Trainer] = None
        self._streams = RandomStreams()

    def install(self) -> None:
        """Put it into the classes of this process."""
        self._path.write_text("", encoding="utf-8")
        trainers: Any = Trainer
        runners: Any = StepRunner
        train, run = trainers.train, runners.run

        def traced_train(trainer: Trainer, *args: Any, **options: Any) -> Any:
            before, self._trainer = self._trainer, trainer
            try:
                return train(trainer, *args, **options)
            finally:
                self._trainer = before

        def traced_run(runner: StepRunner, batches: Sequence[Batch]) -> Any:
            return self._step(self._trainer, batches, lambda: run(runner, batches))

        trainers.train, runners.run = traced_train, traced_run

    def _step(self, trainer: Optional[Trainer], batches: Sequence[Batch], make: Callable[[], Any]) -> Any:
        assert trainer is not None
        step = trainer.step
        events = list(self._before(trainer, batches))
        if step == self._look_into:
            with LayerTrace(trainer, batches) as layers:
                result = make()
            events += layers.events
        else:
            result = make()
            events.append(Event(LOSS, "", digest_of(result.loss)))
        events += [Event(UPDATE, name, digest_of(value)) for name, value in trainer.model.state_dict().items()]
        self._write(step, events, whole=step == self._look_into)
        if step == self._look_into:
            sys.stdout.flush()
            World.current().agree()  # None ends before all are here, in no collective of theirs.
            os._exit(0)  # Nothing after it is wanted.
        return result

    def _before(self, trainer: Trainer, batches: Sequence[Batch]) -> Iterator[Event]:
        for i, batch in enumerate(batches):
            of = f" of batch {i}" if len(batches) > 1 else ""
            yield from (Event(DATA, f"entry {j}{of}", digest_of(entry)) for j, entry in enumerate(batch))
        states = self._streams.state_dict()
        yield from (Event(GENERATORS, name, digest_of(states[name])) for name in ("python", "numpy", "paddle"))
        yield from (Event(WEIGHTS, n, digest_of(value)) for n, value in trainer.model.state_dict().items())
        yield Event(OPTIMIZER, "learning rate", digest_of(trainer.learning_rate))
        optimizers: Any = trainer.optimizer
        several = {"": optimizers} if isinstance(optimizers, paddle.optimizer.Optimizer) else optimizers
        yield from (Event(OPTIMIZER, f"state {n}".strip(), digest_of(o.state_dict())) for n, o in several.items())

    def _write(self, step: int, events: Sequence[Event], whole: bool) -> None:
        kinds = dict.fromkeys(event.kind for event in events)
        digests = {kind: digest_of([e.digest for e in events if e.kind == kind]) for kind in kinds}
        line = {"step": step, "digests": digests, "events": list(events) if whole else None}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")
