"""From a config to the objects of a run, everything checked before anything is written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Optional

import paddle

from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.config import Component, Config
from paddle_resume.config.state import ConfigState
from paddle_resume.console import ConsoleReport
from paddle_resume.data.feed import Feed
from paddle_resume.data.mnist import load_mnist
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

MNIST_LIKE = ("mnist", "fashion_mnist")


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
    model, loss, metrics = build_model(config), _component("loss", config.loss), build_metrics(config)
    steps = _total_steps(config, data)
    rate, resolved = _build_rate(config, steps)
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
        callbacks=[ConsoleReport(_facts(config, data, model), verbosity), *_build_callbacks(config)],
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
        owners={"config": ConfigState(resolved, only_watches)},
    )
    # The record tells where the data came from, also that the small digits stood in for MNIST.
    trainer.checkpointer.lineage[0].update(data=" ".join([data.source, *data.notes]))
    return Run(config, trainer, data, verbosity)


def evaluate_weights(config: Config, weights: str, split: str = "test") -> dict[str, float]:
    """Loss and metrics of a checkpoint's weights on one split of the config's data.

    Raises CheckpointError for weights that are missing, damaged or do not fit, ConfigError for a split that
    the data does not have.
    """
    model = build_model_with(config, weights)
    data = build_split(config, split)
    evaluator = Trainer(
        model, {}, loss=_component("loss", config.loss), metrics=build_metrics(config), seed=config.run.seed
    )
    return evaluator.evaluate(data, split, batch_size=config.data.batch_size, num_workers=config.data.num_workers)


def build_model(config: Config) -> paddle.nn.Layer:
    """The model, with freshly drawn parameters."""
    return _component("model", config.model)


def build_model_with(config: Config, weights: Optional[str]) -> paddle.nn.Layer:
    """The model on its device with `weights` (a checkpoint's prefix, or a `.pdparams` file).

    Without any it has those that a run of this config starts from. Raises CheckpointError and ConfigError.
    """
    found = read_weights(weights) if weights is not None else None
    _check_components(config)
    choose_device(config)
    seed_everything(config.run.seed)
    model = build_model(config)
    if found is not None:
        load_weights(model, found[1], source=str(found[0]))
    return model


def build_metrics(config: Config) -> list[paddle.metric.Metric]:
    """The metrics, empty."""
    return [build("metric", metric.name, metric.args, where=f"metrics.{i}") for i, metric in enumerate(config.metrics)]


def build_data(config: Config) -> DataSplits:
    """Train, validation and test data.

    A class that takes `mode` is built with `train` and with `test`; of any class whose length is known the last
    `data.valid` samples of the training data become the validation data.
    """
    data = config.data
    if data.name in MNIST_LIKE:
        splits = load_mnist(data.name, data.root, data.fallback, data.valid)
        return DataSplits(splits.train, splits.valid, splits.test, splits.source, splits.notes)
    takes_mode = "mode" in inspect.signature(resolve("data", data.name)).parameters and "mode" not in data.args
    train = build("data", data.name, data.args, supplied={"mode": "train"} if takes_mode else None)
    test = build("data", data.name, data.args, supplied={"mode": "test"}) if takes_mode else None
    valid = None
    if not isinstance(train, paddle.io.IterableDataset):
        train, valid = _split(train, data.valid)
    return DataSplits(train, valid, test, data.name)


def build_split(config: Config, split: str) -> paddle.io.Dataset:
    """One part of the data, `train`, `valid` or `test`; raises ConfigError if the data has no such part."""
    data = getattr(build_data(config), split, None) if split in ("train", "valid", "test") else None
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


def _split(dataset: paddle.io.Dataset, valid: Any) -> tuple[paddle.io.Dataset, paddle.io.Dataset]:
    length = len(dataset)
    count = length // 6 if valid == "auto" else int(valid * length) if isinstance(valid, float) else valid
    if not 0 < count < length:
        raise ConfigError(
            f"data.valid: {valid} of {length} samples leaves {length - count} to train on; give a smaller share."
        )
    cut = length - count
    return paddle.io.Subset(dataset, range(cut)), paddle.io.Subset(dataset, range(cut, length))


def _facts(config: Config, data: DataSplits, model: paddle.nn.Layer) -> list[tuple[str, str]]:
    """The first lines of a run, as (label, text)."""
    lengths = {"train": data.train, "valid": data.valid, "test": data.test}
    sizes = ", ".join(
        f"{name} {len(part):,}"
        for name, part in lengths.items()
        if part is not None and not isinstance(part, paddle.io.IterableDataset)
    )
    parameters = sum(p.size for p in model.parameters())
    weight = readable(sum(p.size * p.element_size() for p in model.parameters()))
    return [
        ("Environment", Environment().summary()),
        ("Data", f"{data.source}{'; ' + sizes if sizes else ''}"),
        *[("Note", note) for note in data.notes],
        ("Model", f"{config.model.name}, {parameters:,} parameters ({weight})"),
        (
            "Run",
            f"{config.run.name} in {config.run.save_dir}, logs in {config.run.log_dir}/{config.run.name}",
        ),
    ]
