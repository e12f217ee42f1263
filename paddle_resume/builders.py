"""From a config to the objects of a run, everything checked before anything is written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional

import paddle

from paddle_resume.best import Best
from paddle_resume.changes import Changes
from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.config import Component, Config
from paddle_resume.config.changes import AllowedChanges
from paddle_resume.config.schema import Data
from paddle_resume.config.state import ConfigState
from paddle_resume.console import ConsoleReport
from paddle_resume.data.feed import Feed
from paddle_resume.data.mnist import label_names, load_mnist
from paddle_resume.data.parts import PARTS, held_out
from paddle_resume.divergence import Divergence
from paddle_resume.ema import WeightAverage
from paddle_resume.environment import Environment, prefer_repeatable_kernels
from paddle_resume.errors import ConfigError, PaddleResumeError
from paddle_resume.evaluation import training_undisturbed
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import RunningMetrics, evaluation_tags
from paddle_resume.optimization import build_optimizer, check_optimizer
from paddle_resume.owners.model import load_weights
from paddle_resume.precision import Precision
from paddle_resume.pretrained import prepare_weights
from paddle_resume.rates import LENGTH_KEYS, VALID_LOSS, RunLength, build_rate, check_rate
from paddle_resume.registry import build, check_arguments, resolve
from paddle_resume.rng import seed_everything
from paddle_resume.schedule import SaveSchedule
from paddle_resume.storage.files import readable
from paddle_resume.trainer import Trainer

MNIST_LIKE = ("mnist", "fashion_mnist")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class DataSplits:
    """The parts of the data that a config names, one line on where they come from, and what to know about them."""

    train: paddle.io.Dataset
    valid: Optional[paddle.io.Dataset]
    test: Optional[paddle.io.Dataset]
    source: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A trainer and the data that its config names."""

    config: Config
    trainer: Trainer
    data: DataSplits
    verbosity: int = 1
    counted: tuple[str, ...] = ()
    """The config's keys that were `auto`."""

    def train(
        self,
        resume: str,
        allow_inexact: bool,
        overwrite: bool,
        weights: Optional[str] = None,
        partial: bool = False,
        allow_change: Sequence[str] = (),
    ) -> dict[str, float]:
        """Train as the config says; see `Trainer.train`.

        A fresh start begins with `weights`: a checkpoint's prefix, or any `.pdparams` file. They must fit the
        model in every name, shape and dtype; with `partial` those that do are loaded. Raises CheckpointError.
        `allow_change` are overrides `key=value` whose keys may differ from those of the checkpoint.
        """
        self.trainer.checkpointer.wanted = AllowedChanges(allow_change, self.counted, LENGTH_KEYS).wanted
        prepare_weights(self.trainer, resume, weights, partial, quiet=self.verbosity == 0)
        data, trainer = self.config.data, self.config.trainer
        return self.trainer.train(
            self.data.train,
            self.data.valid,
            self.data.test,
            epochs=trainer.epochs,
            max_steps=trainer.max_steps,
            batch_size=data.batch_size,
            shuffle=data.shuffle,
            drop_last=data.drop_last,
            num_workers=data.num_workers,
            resume=resume,
            allow_inexact=allow_inexact,
            overwrite=overwrite,
        )


def build_run(config: Config, verbosity: int = 1) -> Run:
    """All objects of the run; raises ConfigError or DataError, and writes nothing."""
    _check_components(config)
    choose_device(config)
    data = build_data(config)
    # After the data, which draws nothing, and before the model, whose parameters start from this seed.
    seed_everything(config.run.seed)
    described = describe(data.train)
    model, loss = build_model(config, described), _component("loss", config.loss)
    metrics = build_metrics(config, data.train)
    tags = evaluation_tags(metrics) if data.valid is not None else []
    new_rate = partial(build_rate, config, run_length(config, data), tags)
    rate = new_rate()
    resolved = rate.resolve(config)
    resolved["model"].update(model_arguments(config, described))
    optimizer = build_optimizer(config.optimizer, model, rate.value)
    _try_one_batch(config, data.train, model, loss, metrics)
    trainer = Trainer(
        model,
        optimizer,
        loss=loss,
        metrics=metrics,
        save_dir=config.run.save_dir,
        name=config.run.name,
        logger=_build_loggers(config),
        callbacks=[
            Changes(new_rate, config.trainer.accumulate_steps),
            ConsoleReport(_facts(config, data, model, described), verbosity),
            *_build_callbacks(config),
        ],
        seed=config.run.seed,
        schedule=SaveSchedule(
            config.checkpoint.every_epochs,
            config.checkpoint.every_steps,
            config.checkpoint.every_minutes,
            config.checkpoint.on_error,
            config.checkpoint.on_busy,
            config.checkpoint.budget,
        ),
        background=config.checkpoint.background,
        keep=config.checkpoint.keep,
        keep_epochs=config.checkpoint.keep_epochs,
        log_every=config.trainer.log_every,
        lr_interval=rate.interval,
        lr_metric=rate.metric or VALID_LOSS,
        **_build_options(config, metrics, data),
        model_path=config.run.model_path,
        owners={"config": ConfigState(resolved, only_watches)},
    )
    # The record tells where the data came from, also that the small digits stood in for MNIST.
    trainer.checkpointer.lineage[0].update(data=" ".join([data.source, *data.notes]))
    return Run(config, trainer, data, verbosity, tuple(rate.counted))


def evaluate_weights(config: Config, weights: str, split: str = "test") -> dict[str, float]:
    """Loss and metrics of a checkpoint's weights on one split of the config's data.

    Raises CheckpointError for weights that are missing, damaged or do not fit, ConfigError for a split that
    the data does not have.
    """
    model, _, _ = model_with_weights(config, weights)
    splits = build_data(config)
    data = part_of(splits, split)
    metrics = build_metrics(config, splits.train)
    evaluator = Trainer(model, {}, loss=_component("loss", config.loss), metrics=metrics, seed=config.run.seed)
    return evaluator.evaluate(data, split, batch_size=config.data.batch_size, num_workers=config.data.num_workers)


def model_with_weights(config: Config, weights: str) -> tuple[paddle.nn.Layer, Path, Arrays]:
    """The config's model filled with the weights that `weights` means, the file they lie in, and the weights.

    The one way from a `--weights` to a model that is not trained any more: evaluation, export and prediction.
    Raises CheckpointError for weights that are missing, damaged or do not fit.
    """
    path, arrays = read_weights(weights)
    _check_components(config)
    choose_device(config)
    model = build_model(config, describe(build_data(config).train) if _asks_the_data(config) else _NOTHING)
    load_weights(model, arrays, source=str(path))
    return model, path, arrays


def build_model(config: Config, described: Mapping[str, Any] = _NOTHING) -> paddle.nn.Layer:
    """The model, with freshly drawn parameters; `described` is what `describe` says of its data."""
    return build("model", config.model.name, model_arguments(config, described))


def describe(dataset: Any) -> dict[str, Any]:
    """What a dataset with a method `describe()` tells of itself, such as its number of classes."""
    if isinstance(dataset, paddle.io.Subset):
        dataset = dataset.dataset
    return dict(dataset.describe()) if hasattr(dataset, "describe") else {}


def model_arguments(config: Config, described: Mapping[str, Any]) -> dict[str, Any]:
    """The model's arguments, each `auto` replaced by what the data says; raises ConfigError where it says nothing."""
    arguments = config.model.args
    for name, value in arguments.items():
        if value == "auto":
            if name not in described:
                raise ConfigError(
                    f"model.{name}: auto asks the data, and {config.data.name} tells "
                    f"{', '.join(described) or 'nothing'} of itself; give a value here."
                )
            arguments[name] = described[name]
    return arguments


def _asks_the_data(config: Config) -> bool:
    return "auto" in config.model.args.values()


def build_model_with(config: Config, weights: Optional[str]) -> paddle.nn.Layer:
    """The model on its device with `weights` (a checkpoint's prefix, or a `.pdparams` file).

    Without any it has those that a run of this config starts from. Raises CheckpointError and ConfigError.
    """
    if weights is not None:
        return model_with_weights(config, weights)[0]
    _check_components(config)
    choose_device(config)
    seed_everything(config.run.seed)
    return build_model(config, describe(build_data(config).train) if _asks_the_data(config) else _NOTHING)


def build_metrics(config: Config, data: Any = None) -> list[paddle.metric.Metric]:
    """The metrics, empty; those that speak of classes call them as `data` does."""
    metrics = []
    for i, component in enumerate(config.metrics):
        metric = build("metric", component.name, component.args, where=f"metrics.{i}")
        if component.splits is not None:
            metric.splits = tuple(component.splits)
        if getattr(metric, "class_names", ()) is None:
            metric.class_names = _class_names(config, data)
        if config.loss.name == "BCELoss" and getattr(metric, "from_logits", False):
            raise ConfigError(
                f"metrics.{i}: {component.name} takes the outputs for logits, and loss.name: BCELoss for "
                "probabilities; set the metric's from_logits: false, or the loss to BCEWithLogitsLoss."
            )
        metrics.append(metric)
    return metrics


def build_data(config: Config) -> DataSplits:
    """Train, validation and test data.

    A class that takes `mode` is built with `train` and with `test`. If it takes `valid` as well it gets `data.valid`,
    is built with `valid` too, and cuts its parts itself; of any other class whose length is known the last
    `data.valid` samples of the training data become the validation data.
    """
    data = config.data
    if data.name in MNIST_LIKE:
        if data.augment:
            raise ConfigError(f"data.augment: {data.name} takes no transforms; leave it out, or use ImageFolder.")
        splits = load_mnist(data.name, data.root, data.fallback, data.valid)
        return DataSplits(splits.train, splits.valid, splits.test, splits.source, splits.notes)
    takes = inspect.signature(resolve("data", data.name)).parameters
    arguments = {**data.args, **_fields_as_arguments(data, takes)}

    def part(**supplied: Any) -> Any:
        return build("data", data.name, arguments, supplied=supplied)

    train = valid = test = None
    if "mode" not in takes or "mode" in data.args:
        train = part()
    elif "valid" in takes:
        train, valid, test = (part(mode=mode, valid=data.valid) for mode in PARTS)
    else:
        train, test = part(mode="train"), part(mode="test")
    source, notes = getattr(train, "source", data.name), getattr(train, "notes", [])
    if valid is None and not isinstance(train, paddle.io.IterableDataset):
        train, valid = _split(train, data.valid)
    return DataSplits(train, valid, test, source, notes)


def build_split(config: Config, split: str) -> paddle.io.Dataset:
    """One part of the data, `train`, `valid` or `test`; raises ConfigError if the data has no such part."""
    return part_of(build_data(config), split)


def part_of(splits: DataSplits, split: str) -> paddle.io.Dataset:
    """The part of that name; raises ConfigError if the data has no such part."""
    data = getattr(splits, split, None) if split in ("train", "valid", "test") else None
    if data is None:
        raise ConfigError(f"--split {split}: the data has no such part; use train, valid or test.")
    return data


def only_watches(name: str) -> bool:
    """Whether the callback that a config calls `name` says of itself that no training depends on it."""
    try:
        return getattr(resolve("callback", name), "only_watches", False) is True
    except ConfigError:  # It is in the config of a checkpoint, and its class is gone.
        return False


def count_steps(config: Config) -> tuple[int, Optional[int]]:
    """How many steps the config's run makes, and each of its epochs (None for a stream).

    Raises ConfigError if the first is not known before the run ends.
    """
    length = run_length(config, build_data(config))
    if length.steps is None:
        raise ConfigError(f"The length of {config.data.name} is not known; set trainer.max_steps.")
    return length.steps, length.per_epoch


def choose_device(config: Config) -> None:
    """Compute on the device that the config names; raises ConfigError if it is not there."""
    wanted = config.run.device
    if wanted == "auto":
        wanted = "gpu" if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else "cpu"
    try:
        paddle.set_device(wanted)
    except Exception as error:
        raise ConfigError(
            f"run.device: {wanted} cannot be used: {error}. Use auto or cpu, or install the [gpu] extra."
        ) from error
    prefer_repeatable_kernels()


def _component(kind: str, component: Component) -> Any:
    return build(kind, component.name, component.args)


def _build_callbacks(config: Config) -> list[Any]:
    return [build("callback", each.name, each.args, where=f"callbacks.{i}") for i, each in enumerate(config.callbacks)]


def _check_components(config: Config) -> None:
    """Names and arguments of every class, before the first of them is built."""
    for kind, component in (("model", config.model), ("loss", config.loss)):
        check_arguments(kind, resolve(kind, component.name), component.args)
    for i, metric in enumerate(config.metrics):
        check_arguments("metric", resolve("metric", metric.name, f"metrics.{i}"), metric.args, f"metrics.{i}")
    for i, callback in enumerate(config.callbacks):
        where = f"callbacks.{i}"
        check_arguments("callback", resolve("callback", callback.name, where), callback.args, where)
    check_optimizer(config.optimizer)
    check_rate(config)


def _try_one_batch(config: Config, data: Any, model: Any, loss: Any, metrics: list[Any]) -> None:
    """Tell before training starts if data, model, loss and metrics do not go together; leaves no trace."""
    if isinstance(data, paddle.io.IterableDataset):
        return  # Its first samples cannot be had twice.
    batch = next(Feed(data, batch_size=2, shuffle=False).from_start())
    try:
        with training_undisturbed(model):
            output = model(*batch[:-1])
            value = loss(output, batch[-1])
            float(value)
            for split in ("train", "valid", "test"):
                trial = RunningMetrics(metrics).fresh(split)
                trial.update(-1, value, output, batch[-1], len(batch[0]))
                trial.results()
    except PaddleResumeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{list(part.shape)} {str(part.dtype).split('.')[-1]}" for part in batch)
        raise ConfigError(
            f"model {config.model.name}, loss {config.loss.name}, metrics and data do not go together: a batch of "
            f"{shapes} failed with {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        ) from error


def run_length(config: Config, data: DataSplits) -> RunLength:
    """How long the config's run on these data is."""
    fed = config.data
    batches = Feed(data.train, batch_size=fed.batch_size, drop_last=fed.drop_last).steps_per_epoch
    per_epoch = -(-batches // config.trainer.accumulate_steps) if batches is not None else None
    limits = [config.trainer.max_steps, per_epoch * config.trainer.epochs if per_epoch else None]
    steps = min((limit for limit in limits if limit is not None), default=None)
    return RunLength(steps, per_epoch, config.trainer.epochs)


def _build_loggers(config: Config) -> list[Any]:
    folder = f"{config.run.log_dir}/{config.run.name}"
    return [VisualDLLogger(folder, config.run.name), JsonlLogger(folder)]


def _build_options(config: Config, metrics: list[Any], data: DataSplits) -> dict[str, Any]:
    """What a trainer may have beyond the plain loop: precision, average, best, and what to do when it diverges."""
    options, best = config.trainer, config.best
    if best is not None:
        tags = evaluation_tags(metrics) if data.valid is not None else []
        if best.monitor not in tags:
            have = f"use {', '.join(tags)}" if tags else "there is no validation data"
            raise ConfigError(f"best.monitor: {best.monitor} is none of what an evaluation gives; {have}.")
    ema = WeightAverage(options.ema.decay, warmup=options.ema.warmup) if options.ema else None
    return {
        "evaluate_every": options.evaluate_every,
        "accumulate_steps": options.accumulate_steps,
        "precision": Precision(options.amp, options.amp_dtype),
        "ema": ema,
        "evaluate_ema": options.ema is not None and options.ema.evaluate,
        "best": Best(**best.model_dump()) if best is not None else None,
        "on_nan": Divergence(options.on_nan, lr_factor=options.rollback_lr, most=options.max_rollbacks),
    }


def _class_names(config: Config, data: Any) -> Optional[Sequence[str]]:
    """What the dataset calls its classes, by label; None if it does not say."""
    if config.data.name in MNIST_LIKE:
        return label_names(config.data.name)
    while isinstance(data, paddle.io.Subset):
        data = data.dataset
    return getattr(data, "class_names", None)


def _fields_as_arguments(data: Data, takes: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of the section that are arguments of the dataset's class too, if they are given."""
    transforms = [
        build("transform", each.name, each.args, where=f"data.augment.{i}") for i, each in enumerate(data.augment)
    ]
    given = {name: value for name, value in (("root", data.root), ("augment", transforms)) if value}
    for name in given:
        if name not in takes:
            raise ConfigError(f"data.{name}: {data.name} takes no argument of that name; leave it out.")
    return given


def _split(dataset: paddle.io.Dataset, valid: Any) -> tuple[paddle.io.Dataset, paddle.io.Dataset]:
    length = len(dataset)
    cut = length - held_out(valid, length, "data.valid")
    return paddle.io.Subset(dataset, range(cut)), paddle.io.Subset(dataset, range(cut, length))


def _facts(
    config: Config, data: DataSplits, model: paddle.nn.Layer, described: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The first lines of a run, as (label, text)."""
    lengths = {"train": data.train, "valid": data.valid, "test": data.test}
    sizes = ", ".join(
        f"{name} {len(part):,}"
        for name, part in lengths.items()
        if part is not None and not isinstance(part, paddle.io.IterableDataset)
    )
    parameters = sum(p.size for p in model.parameters())
    arguments = model_arguments(config, described)
    found = ", ".join(f"{name} {arguments[name]}" for name, value in config.model.args.items() if value == "auto")
    weight = readable(sum(p.size * p.element_size() for p in model.parameters()))
    return [
        ("Environment", Environment().summary()),
        ("Data", f"{data.source}{'; ' + sizes if sizes else ''}"),
        *[("Note", note) for note in data.notes],
        ("Model", f"{config.model.name}, {parameters:,} parameters ({weight}){f'; {found}' if found else ''}"),
        (
            "Run",
            f"{config.run.name} in {config.run.save_dir}, logs in {config.run.log_dir}/{config.run.name}",
        ),
    ]
