"""From a config to the objects of a run, everything checked before anything is written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Optional

import paddle

from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.config import Component, Config
from paddle_resume.config.schema import Data
from paddle_resume.config.state import ConfigState
from paddle_resume.console import ConsoleReport
from paddle_resume.data.feed import Feed
from paddle_resume.data.mnist import load_mnist
from paddle_resume.data.parts import PARTS, held_out
from paddle_resume.environment import Environment
from paddle_resume.errors import ConfigError
from paddle_resume.evaluation import training_undisturbed
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.owners.model import load_weights
from paddle_resume.pretrained import prepare_weights
from paddle_resume.registry import build, check_arguments, resolve
from paddle_resume.rng import seed_everything
from paddle_resume.schedule import SaveSchedule
from paddle_resume.storage.files import readable
from paddle_resume.trainer import Trainer

_MNIST_LIKE = ("mnist", "fashion_mnist")
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

    def train(
        self,
        resume: str,
        allow_inexact: bool,
        overwrite: bool,
        weights: Optional[str] = None,
        partial: bool = False,
    ) -> dict[str, float]:
        """Train as the config says; see `Trainer.train`.

        A fresh start begins with `weights`: a checkpoint's prefix, or any `.pdparams` file. They must fit the
        model in every name, shape and dtype; with `partial` those that do are loaded. Raises CheckpointError.
        """
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
    model, loss, metrics = build_model(config, described), _component("loss", config.loss), build_metrics(config)
    steps = _total_steps(config, data)
    rate, resolved = _build_rate(config, steps)
    resolved["model"].update(model_arguments(config, described))
    optimizer = build(
        "optimizer",
        config.optimizer.name,
        config.optimizer.args,
        supplied={"learning_rate": rate, "parameters": model.parameters()},
    )
    _try_one_batch(config, data.train, model, loss, metrics)
    trainer = Trainer(
        model,
        optimizer,
        loss=loss,
        metrics=metrics,
        save_dir=config.run.save_dir,
        name=config.run.name,
        logger=_build_loggers(config),
        callbacks=[ConsoleReport(_facts(config, data, model, described), verbosity)],
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
        on_nan=config.trainer.on_nan,
        model_path=config.run.model_path,
        owners={"config": ConfigState(resolved)},
    )
    # The record tells where the data came from, also that the small digits stood in for MNIST.
    trainer.checkpointer.lineage[0].update(data=" ".join([data.source, *data.notes]))
    return Run(config, trainer, data, verbosity)


def evaluate_weights(config: Config, weights: str, split: str = "test") -> dict[str, float]:
    """Loss and metrics of a checkpoint's weights on one split of the config's data.

    Raises CheckpointError for weights that are missing, damaged or do not fit, ConfigError for a split that
    the data does not have.
    """
    path, arrays = read_weights(weights)
    _check_components(config)
    choose_device(config)
    splits = build_data(config)
    model = build_model(config, describe(splits.train))
    load_weights(model, arrays, source=str(path))
    data = getattr(splits, split, None) if split in ("train", "valid", "test") else None
    if data is None:
        raise ConfigError(f"--split {split}: the data has no such part; use train, valid or test.")
    evaluator = Trainer(
        model, {}, loss=_component("loss", config.loss), metrics=build_metrics(config), seed=config.run.seed
    )
    return evaluator.evaluate(data, split, batch_size=config.data.batch_size, num_workers=config.data.num_workers)


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


def build_metrics(config: Config) -> list[paddle.metric.Metric]:
    """The metrics, empty."""
    return [build("metric", metric.name, metric.args, where=f"metrics.{i}") for i, metric in enumerate(config.metrics)]


def build_data(config: Config) -> DataSplits:
    """Train, validation and test data.

    A class that takes `mode` is built with `train` and with `test`. If it takes `valid` as well it gets `data.valid`,
    is built with `valid` too, and cuts its parts itself; of any other class whose length is known the last
    `data.valid` samples of the training data become the validation data.
    """
    data = config.data
    if data.name in _MNIST_LIKE:
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


def count_steps(config: Config) -> tuple[int, Optional[int]]:
    """How many steps the config's run makes, and each of its epochs (None for a stream).

    Raises ConfigError if the first is not known before the run ends.
    """
    data = build_data(config)
    steps = _total_steps(config, data)
    if steps is None:
        raise ConfigError(f"The length of {config.data.name} is not known; set trainer.max_steps.")
    return steps, _steps_per_epoch(config, data)


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


def _component(kind: str, component: Component) -> Any:
    return build(kind, component.name, component.args)


def _check_components(config: Config) -> None:
    """Names and arguments of every class, before the first of them is built."""
    for kind, component in (("model", config.model), ("loss", config.loss)):
        check_arguments(kind, resolve(kind, component.name), component.args)
    for i, metric in enumerate(config.metrics):
        check_arguments("metric", resolve("metric", metric.name, f"metrics.{i}"), metric.args, f"metrics.{i}")
    supplied = {"learning_rate": 0.1, "parameters": []}
    optimizer = config.optimizer
    check_arguments("optimizer", resolve("optimizer", optimizer.name), optimizer.args, supplied=supplied)
    if isinstance(optimizer.lr, Component):
        check_arguments("lr", resolve("lr", optimizer.lr.name), optimizer.lr.args)


def _try_one_batch(config: Config, data: Any, model: Any, loss: Any, metrics: list[Any]) -> None:
    """Tell before training starts if data, model, loss and metrics do not go together; leaves no trace."""
    if isinstance(data, paddle.io.IterableDataset):
        return  # Its first samples cannot be had twice.
    batch = next(Feed(data, batch_size=2, shuffle=False).from_start())
    try:
        with training_undisturbed(model):
            output = model(*batch[:-1])
            float(loss(output, batch[-1]))
            for metric in metrics:
                metric.compute(output, batch[-1])
    except Exception as error:
        shapes = ", ".join(f"{list(part.shape)} {str(part.dtype).split('.')[-1]}" for part in batch)
        raise ConfigError(
            f"model {config.model.name}, loss {config.loss.name}, metrics and data do not go together: a batch of "
            f"{shapes} failed with {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        ) from error


def _total_steps(config: Config, data: DataSplits) -> Optional[int]:
    """Steps of the whole run; None if neither the config nor the data tells."""
    per_epoch = _steps_per_epoch(config, data)
    limits = [config.trainer.max_steps, per_epoch * config.trainer.epochs if per_epoch else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _steps_per_epoch(config: Config, data: DataSplits) -> Optional[int]:
    fed = config.data
    return Feed(data.train, batch_size=fed.batch_size, drop_last=fed.drop_last).steps_per_epoch


def _build_rate(config: Config, steps: Optional[int]) -> tuple[Any, dict[str, Any]]:
    """The learning rate or scheduler, and the whole config with every `auto` in it replaced by its number."""
    resolved, rate = config.to_dict(), config.optimizer.lr
    if not isinstance(rate, Component):
        return rate, resolved
    args = dict(rate.args)
    for name, value in args.items():
        if value == "auto":
            if steps is None:
                raise ConfigError(
                    f"optimizer.lr.{name}: auto needs to know how many steps the run has, and the length of "
                    f"{config.data.name} is not known; give a number here, or set trainer.max_steps."
                )
            args[name] = steps
    resolved["optimizer"]["lr"].update(args)
    return build("lr", rate.name, args), resolved


def _build_loggers(config: Config) -> list[Any]:
    folder = f"{config.run.log_dir}/{config.run.name}"
    return [VisualDLLogger(folder, config.run.name), JsonlLogger(folder)]


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
