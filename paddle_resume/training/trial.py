"""A trial: all that a training does, a few times and in a temporary folder, and then everything is as it was."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paddle

from paddle_resume.found_state.paddle_rules import EARLIER
from paddle_resume.parallel.world import World
from paddle_resume.rng import preserved
from paddle_resume.training.default_logs import AUTO, logs_of
from paddle_resume.training.run_console import RunConsole
from paddle_resume.training.run_data import DataOptions
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.session import Session

_STEPS_PER_EPOCH, _FIRST, _ALL = 2, 1, 3
_FEEDING = ("global_batch_size", "shuffle", "drop_last", "num_workers")
_NOT_TRIED = ("epochs", "max_steps", "limit_batches", "resume", "overwrite", "allow_change", "allow_inexact", "changes")


def run_trial(trainer: Any, data: tuple[Any, Any, Any], options: Mapping[str, Any]) -> None:
    """Train a step, save, evaluate, resume and train on, as `trainer.train(*data, **options)` would; see `Trainer`."""
    begun = time.monotonic()
    world: World = trainer.world
    with _shared_folder(world) as folder, _everything_as_it_was(trainer, data, options, folder):
        fed = {name: value for name, value in options.items() if name not in _NOT_TRIED}
        accumulate = trainer._parts.optimizer_step.accumulate_steps
        is_stream = isinstance(getattr(data[0], "dataset", data[0]), paddle.io.IterableDataset)
        limit = None if is_stream else _STEPS_PER_EPOCH * accumulate
        for steps in (_FIRST, _ALL):
            trying = _in_folder(trainer, folder)
            trying.train(*data, **fed, epochs=_ALL, max_steps=steps, limit_batches=limit)
        restored = trying.restored
    if world.is_main:
        print(_report(trainer, trying, restored, data, time.monotonic() - begun), flush=True)


def _in_folder(trainer: Any, folder: Path) -> Any:
    """A trainer of the same class, with the same model and all else, whose files lie in `folder`."""
    trying = copy.copy(trainer)
    trying._console, trying._session, trying.restored = None, None, None
    given = trainer._arguments
    trying._parts = trying._new_parts(
        save_dir=folder / "checkpoint",
        model_path=folder / "model.pdparams",
        logger=logs_of(AUTO if given["logger"] else None, None, folder, given["name"]),
        callbacks=_callbacks(trainer),
    )
    return trying


def _callbacks(trainer: Any) -> list[Any]:
    """All but what prints a run, of which a trial is none."""
    return [each for each in trainer._arguments["callbacks"] if not isinstance(each, RunConsole)]


@contextmanager
def _everything_as_it_was(trainer: Any, data: Any, options: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """What a training moves is put back at the end, also when it failed: all that a checkpoint would hold."""
    model, watched = trainer.model, _in_folder(trainer, folder)
    attributes, earlier = dict(vars(trainer)), vars(model).get(EARLIER)
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    optimizers = trainer._parts.optimizers.values()
    with preserved(), _streams_as_they_were(data):
        parts = watched._parts
        fed = DataOptions(**{name: options.get(name) for name in _FEEDING})
        feed, evaluation = fed.feeds(data[0], {"valid": data[1], "test": data[2]}, parts.feed_options)
        length = RunLength(1, _ALL, feed.batches_per_epoch)
        Session(watched, parts, feed, evaluation, length)  # It finds what there is.
        put_back = parts.as_now(whole=True)
        structures = [(optimizer, _structure(vars(optimizer))) for optimizer in optimizers]
        try:
            yield
        finally:
            for optimizer, structure in structures:
                # State that the optimizer has made meanwhile goes, so that it makes it anew.
                vars(optimizer).clear()
                vars(optimizer).update(structure)
            put_back()
            parts.engine.close()
            for layer, training in modes:
                layer.training = training
            vars(model).pop(EARLIER, None)
            if earlier is not None:
                vars(model)[EARLIER] = earlier
            vars(trainer).clear()
            vars(trainer).update(attributes)


@contextmanager
def _streams_as_they_were(data: Any) -> Iterator[None]:
    """A stream that knows its position goes back to it."""
    sets = [getattr(each, "dataset", each) for each in data if each is not None]
    streams = [each for each in sets if isinstance(each, paddle.io.IterableDataset) and hasattr(each, "set_state_dict")]
    states = [copy.deepcopy(stream.state_dict()) for stream in streams]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for stream, state in zip(streams, states):
            stream.set_state_dict(state)


def _structure(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, with containers of their own down to what is in them: tensors and all else are the same."""
    return {name: _container(value) for name, value in fields.items()}


def _container(value: Any) -> Any:
    if type(value) in (list, set):
        return copy.copy(value)
    if not isinstance(value, dict):
        return value
    own = copy.copy(value)  # also a defaultdict
    for key, part in value.items():
        own[key] = _container(part)
    return own


@contextmanager
def _shared_folder(world: World) -> Iterator[Path]:
    """A folder that goes away; all processes have that of rank 0."""
    with TemporaryDirectory(prefix="paddle_resume-trial-") as own:
        yield Path(world.broadcast_object(own))
        world.agree()


def _report(trainer: Any, trying: Any, restored: Any, data: Any, seconds: float) -> str:
    names = " and ".join(type(each).__name__ for each in trainer._parts.optimizers.values()) or "your own steps"
    splits = [split for split, each in zip(("valid", "test"), data[1:]) if each is not None]
    evaluated = (
        f"evaluations on {' and '.join(splits)}" if splits else "no evaluation, as there is nothing to evaluate on"
    )
    callbacks = len(_callbacks(trainer))
    tried = [
        f"{trying.step} steps forward and backward with {names}",
        evaluated,
        "saves",
        f"a resume from step {restored.step}",
        "the finished model",
        *(["logs"] if trying.loggers else []),
        *([f"{callbacks} callback{'s' if callbacks > 1 else ''}"] if callbacks else []),
    ]
    return (
        f"Trial: all of it works. Tried in {seconds:.1f} s: {', '.join(tried)}. It was done in a temporary folder that "
        "is gone; model, optimizer and generators are as they were before."
    )
