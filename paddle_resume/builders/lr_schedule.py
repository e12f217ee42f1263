"""From the config's `optimizer.lr` to a rate or a schedule, with every `auto` in it counted out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Optional, Union

from paddle.optimizer.lr import LinearWarmup, LRScheduler, OneCycleLR, ReduceOnPlateau

from paddle_resume.builders.registry import build, check_arguments, resolve, resolve_function
from paddle_resume.config import Config, ScheduleConfig
from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError
from paddle_resume.lr.stepper import EPOCH, STEP, LRStepper
from paddle_resume.lr.warmup import Warmup
from paddle_resume.training.run_length import RunLength

VALID_LOSS = "valid/loss"
_WHERE = "optimizer.lr"
# The arguments of Paddle's schedules that count what `auto` stands for.
_COUNTS = ("decay_steps", "T_max", "T_0", "total_steps", "step_size", "step_size_up", "step_size_down", "warmup_steps")
# The arguments that take a function, which YAML names by its import path.
_FUNCTIONS = ("lr_lambda", "scale_fn")
# The schedules that go around another one, each with the argument that counts its own steps before that begins.
_WRAPPERS: dict[type, str] = {LinearWarmup: "warmup_steps", Warmup: "steps"}
# The keys that decide how many steps a run has and what a schedule gets of them: with one, an `auto` may change.
LENGTH_KEYS = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.limit_batches",
    "trainer.accumulate_steps",
    "data.global_batch_size",
    "data.drop_last",
    "data.valid",
    "data.name",
    "optimizer.lr.interval",
    "optimizer.lr.warmup",
    *(f"optimizer.lr.{own}" for own in _WRAPPERS.values()),
)


@dataclass(frozen=True)
class Rate:
    """What the optimizer and the trainer are given for `optimizer.lr`."""

    value: Union[float, LRScheduler]
    interval: str = STEP
    metric: Optional[str] = None
    counted: dict[str, int] = field(default_factory=dict)
    """The keys that were `auto`, with their numbers."""

    def resolve(self, config: Config) -> dict[str, Any]:
        """The whole config as plain values, with the numbers in place of every `auto`, and the metric if any."""
        resolved = config.to_dict()
        if self.metric is not None:
            resolved["optimizer"]["lr"]["metric"] = self.metric
        for key, number in self.counted.items():
            *parents, name = key.split(".")
            section = resolved
            for parent in parents:
                section = section[parent]
            section[name] = number
        return resolved


def check_rate(config: Config) -> None:
    """Check names, arguments and keys of `optimizer.lr` before anything is built; raises ConfigError."""
    rate = config.optimizer.lr
    if not isinstance(rate, ScheduleConfig):
        return
    found = _check_schedule(rate.name, rate.args, _WHERE)
    watches = inspect.isclass(found) and issubclass(found, ReduceOnPlateau)
    if rate.metric is not None and not watches:
        raise ConfigError(
            f"{_WHERE}.metric: {rate.metric} is for a ReduceOnPlateau, and {rate.name} watches no metric; remove it."
        )
    if rate.warmup is not None and found in _WRAPPERS:
        raise ConfigError(f"{_WHERE}.warmup: {rate.name} is a warm-up itself; keep one of the two.")
    watched = rate.metric or VALID_LOSS
    if watches and "mode" not in rate.args and not watched.endswith("loss"):
        raise ConfigError(f"{_WHERE}.mode is missing: is more of {watched} better (mode: max) or worse (mode: min)?")


def build_rate(config: Config, length: RunLength, tags: Sequence[str]) -> Rate:
    """The rate that `optimizer.lr` describes for a run of this length, whose evaluations give `tags`.

    A number of steps or epochs that is `auto` becomes all that the schedule has: those of the run, less those of a
    warm-up before it. Raises ConfigError, also for a metric that the run does not have.
    """
    rate = config.optimizer.lr
    if not isinstance(rate, ScheduleConfig):
        return Rate(rate)
    counted: dict[str, int] = {}
    warmup = _warmup_steps(rate, config, length)
    before = warmup if rate.interval == STEP else warmup // (length.steps_per_epoch or warmup + 1)
    left = length.moves(rate.interval)
    if left is not None and before >= left:
        raise ConfigError(f"{_WHERE}.warmup: a warm-up of {warmup} steps leaves nothing of the run; make it shorter.")
    schedule = _build_schedule(
        rate.name, rate.args, _WHERE, _Counter(config, rate.interval, left, counted).less(before)
    )
    if isinstance(schedule, OneCycleLR) and left is not None and schedule.total_steps < left - before:
        # It refuses any step beyond: better now than then.
        raise ConfigError(
            f"{_WHERE}.total_steps is {schedule.total_steps}, but OneCycleLR has {left - before} {rate.interval}s to "
            "go; give it as many, or auto."
        )
    watches = isinstance(schedule, ReduceOnPlateau)
    metric = _watched(rate.metric or VALID_LOSS, tags) if watches else None
    if rate.warmup is not None:
        interval = EPOCH if watches else rate.interval
        schedule = Warmup(schedule, warmup, rate.warmup.start_lr, interval)
    return Rate(schedule, rate.interval, metric, counted)


def rates_of_steps(rate: Rate, steps: int, epoch_ends: Container[int]) -> Iterator[float]:
    """The rate of each of the first `steps` steps, where an epoch ends after each number of steps in `epoch_ends`.

    The schedule is moved as a run moves it, and stands behind the last step afterwards. One that waits for a metric
    is given none. Raises ConfigError if the schedule does not get that far.
    """
    optimizer: Any = SimpleNamespace(_learning_rate=rate.value)
    mover = LRStepper({"": optimizer}, rate.interval)
    for step in range(steps):
        yield rate.value() if isinstance(rate.value, LRScheduler) else rate.value
        mover.after(STEP)
        if step + 1 in epoch_ends:
            mover.after(EPOCH)


@dataclass(frozen=True)
class _Counter:
    """Answers every `auto`, and remembers what it answered."""

    config: Config
    interval: str
    left: Optional[int]
    counted: dict[str, int]

    def less(self, before: int) -> _Counter:
        """For what begins only after so many."""
        left = None if self.left is None else max(1, self.left - before)
        return _Counter(self.config, self.interval, left, self.counted)

    def count(self, key: str) -> int:
        if self.left is None:
            raise ConfigError(
                f"{key}: auto needs to know how many {self.interval}s the run has, and the length of "
                f"{self.config.data.name} is not known; give a number here, or set trainer.max_steps."
            )
        self.counted[key] = self.left
        return self.left


def _check_schedule(name: str, args: Mapping[str, Any], where: str) -> Callable[..., Any]:
    found = resolve("lr", name, where)
    check_arguments("lr", found, args, where)
    for key, value in args.items():
        if value == "auto":
            _refuse_other_than_counts(found, f"{where}.{key}", key)
        elif _is_nested(value):
            _check_nested(found, value, f"{where}.{key}")
    return found


def _check_nested(outer: Callable[..., Any], value: Mapping[str, Any], where: str) -> None:
    if getattr(outer, "__module__", "") == LRScheduler.__module__ and outer not in _WRAPPERS:
        raise ConfigError(
            f"{where}: {outer.__name__} takes a number here, not a schedule; LinearWarmup and Warmup take schedules."
        )
    if not isinstance(value["name"], str):
        raise ConfigError(f"{where}.name is {show(value['name'])}; expected the name of a schedule")
    inner = _check_schedule(value["name"], _arguments(value), where)
    if outer in _WRAPPERS and inspect.isclass(inner) and issubclass(inner, ReduceOnPlateau):
        # LinearWarmup would give it the position as if it were the metric.
        raise ConfigError(
            f"{where}: {outer.__name__} cannot step a ReduceOnPlateau, which waits for a metric. Make "
            f"ReduceOnPlateau the schedule itself, with a warm-up as its key {_WHERE}.warmup."
        )


def _build_schedule(name: str, args: Mapping[str, Any], where: str, counter: _Counter) -> LRScheduler:
    found = resolve("lr", name, where)
    built: dict[str, Any] = {
        key: counter.count(f"{where}.{key}")
        if value == "auto"
        else resolve_function(value, f"{where}.{key}")
        if _is_function(found, key, value)
        else value
        for key, value in args.items()
    }
    before = built.get(_WRAPPERS.get(found, ""))  # type: ignore[call-overload]
    inside = counter.less(before) if isinstance(before, int) else counter
    for key, value in built.items():
        if _is_nested(value):
            built[key] = _build_schedule(value["name"], _arguments(value), f"{where}.{key}", inside)
    return build("lr", name, built, where)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and "name" in value


def _arguments(nested: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in nested.items() if key != "name"}


def _is_function(found: Callable[..., Any], key: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    parameter = inspect.signature(found).parameters.get(key)
    return key in _FUNCTIONS or (parameter is not None and "Callable" in str(parameter.annotation))


def _refuse_other_than_counts(found: Callable[..., Any], where: str, key: str) -> None:
    """Of Paddle's classes it is known what they count; one of your own may count with any argument."""
    if found.__module__ != LRScheduler.__module__ or key in _COUNTS:
        return
    counts = [name for name in inspect.signature(found).parameters if name in _COUNTS]
    advice = f"{found.__name__} counts with {', '.join(counts)}" if counts else f"{found.__name__} counts nothing"
    raise ConfigError(f"{where}: auto stands for a number of steps or epochs; {advice}.")


def _warmup_steps(rate: ScheduleConfig, config: Config, length: RunLength) -> int:
    if rate.warmup is None:
        return 0
    if rate.warmup.steps is not None:
        return rate.warmup.steps
    assert rate.warmup.epochs is not None
    if length.steps_per_epoch is None:
        raise ConfigError(
            f"{_WHERE}.warmup.epochs: the length of {config.data.name} is not known; give {_WHERE}.warmup.steps."
        )
    return max(1, round(rate.warmup.epochs * length.steps_per_epoch))


def _watched(tag: str, tags: Sequence[str]) -> str:
    if tag not in tags:
        known = ", ".join(tags) or "nothing, since it has no validation data"
        raise ConfigError(f"{_WHERE}.metric: {tag} is none of what this run evaluates after each epoch: {known}.")
    return tag
