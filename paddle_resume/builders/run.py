"""From a config to a run that can begin: everything built and checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from paddle_resume.builders.config_changes import BuildRate, ConfigChanges
from paddle_resume.builders.data import DataSplits, build_data, describe, part_of
from paddle_resume.builders.elastic import prepare_elastic
from paddle_resume.builders.initial_weights import prepare_weights
from paddle_resume.builders.lr_schedule import LENGTH_KEYS, VALID_LOSS, Rate, build_rate
from paddle_resume.builders.mesh import build_mesh
from paddle_resume.builders.model import (
    build_metrics,
    build_model,
    check_components,
    choose_device,
    component,
    model_arguments,
    model_with_weights,
)
from paddle_resume.builders.optimizer import build_optimizer
from paddle_resume.builders.own_modules import says_of_itself
from paddle_resume.builders.registry import build, resolve
from paddle_resume.builders.start_facts import start_facts
from paddle_resume.config import Config
from paddle_resume.config.config_state import ConfigState
from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.errors import ConfigError
from paddle_resume.metrics import evaluation_tags
from paddle_resume.parallel.batch_norm import synchronized
from paddle_resume.parallel.world import World
from paddle_resume.rng import seed_everything
from paddle_resume.training.best import Best
from paddle_resume.training.divergence import Divergence
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.first_samples import try_first_samples
from paddle_resume.training.options import Monitoring, Processes, StepOptions
from paddle_resume.training.precision import Precision
from paddle_resume.training.run_console import RunConsole
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.trainer import Trainer
from paddle_resume.user_terms import command_terms


@dataclass(frozen=True)
class Run:
    """A trainer and the data that its config names."""

    config: Config
    trainer: Trainer
    data: DataSplits
    new_rate: BuildRate
    """Gives the rate at its beginning, as it was built for this start, or for a run of another length."""
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
        overrides: Sequence[str] = (),
        allow_change: bool = False,
        lr_change: Optional[str] = None,
    ) -> dict[str, float]:
        """Train as the config says; see `Trainer.train`.

        A fresh start begins with `weights`: a checkpoint's prefix, or any `.pdparams` file. They must fit the
        model in every name, shape and dtype; with `partial` those that do are loaded. Raises CheckpointError.
        `overrides` are the texts `key=value` of the command; with `allow_change` their keys may differ from those of
        the checkpoint. `lr_change` says how another learning rate goes on, see `lr.ways`.
        """
        with command_terms(), self.trainer.world.together():
            changes = ConfigChanges(
                overrides,
                allow_change,
                lr_change,
                counted=self.counted,
                length_keys=LENGTH_KEYS,
                build_rate=self.new_rate,
                run_name=self.config.run.name,
            )
            data, trainer = self.config.data, self.trainer
            prepare_weights(trainer, resume, weights, partial, quiet=self.verbosity == 0 or not trainer.world.is_main)
            return trainer.train(
                self.data.train,
                self.data.valid,
                self.data.test,
                epochs=self.config.trainer.epochs,
                max_steps=self.config.trainer.max_steps,
                limit_batches=self.config.trainer.limit_batches,
                global_batch_size=data.global_batch_size,
                shuffle=data.shuffle,
                drop_last=data.drop_last,
                num_workers=data.num_workers,
                resume=resume,
                allow_inexact=allow_inexact,
                overwrite=overwrite,
                changes=changes,
            )

    def trial(self, weights: Optional[str] = None, partial: bool = False) -> None:
        """Try all of it in seconds, in a temporary folder; see `Trainer.trial`."""
        with command_terms(), self.trainer.world.together():
            data = self.config.data
            if weights is not None:
                prepare_weights(self.trainer, "none", weights, partial, quiet=self.verbosity == 0)
            self.trainer.trial(
                self.data.train,
                self.data.valid,
                self.data.test,
                global_batch_size=data.global_batch_size,
                shuffle=data.shuffle,
                drop_last=data.drop_last,
                num_workers=data.num_workers,
            )


def build_run(config: Config, verbosity: int = 1) -> Run:
    """All objects of the run; raises ConfigError or DataError, and writes nothing."""
    with command_terms(), World.current().together():
        return _build_run(config, World.current(), verbosity)


def _build_run(config: Config, world: World, verbosity: int) -> Run:
    world.set_timeout(config.parallel.timeout)
    prepare_elastic(config, world)
    check_components(config)
    choose_device(config)
    data = build_data(config)
    # After the data, which draws nothing, and before the model, whose parameters start from this seed.
    seed_everything(config.run.seed)
    described = describe(data.train)
    model, loss = build_model(config, described), component("loss", config.loss)
    metrics = build_metrics(config, data.train)
    tags = evaluation_tags(metrics) if data.valid is not None else []
    length = run_length(config, data)
    new_rate: BuildRate = lambda other: build_rate(config, other or length, tags)  # noqa: E731
    rate = new_rate(None)
    resolved = rate.resolve(config)
    resolved["model"].update(model_arguments(config, described))
    facts = start_facts(config, data, model, described)
    if config.parallel.sync_batch_norm and not world.is_single:
        model = synchronized(model)
    mesh = build_mesh(config, world)
    if mesh is not None:
        _try_first_samples(config, data.train, model, loss, metrics)  # While one process can: see Session for others.
        mesh.shard_model(model, config.parallel.plan)
    optimizer = build_optimizer(config.optimizer, model, rate.value)
    if mesh is not None:
        optimizer = mesh.shard_optimizer(optimizer)
    trainer = Trainer(
        model,
        optimizer,
        loss=loss,
        metrics=metrics,
        save_dir=config.run.save_dir,
        name=config.run.name,
        log_dir=config.run.log_dir,
        console=False,
        callbacks=[
            *([RunConsole(facts, verbosity)] if world.is_main else []),
            *_build_callbacks(config),
        ],
        seed=config.run.seed,
        model_path=config.run.model_path,
        schedule=SaveSchedule(**config.checkpoint.model_dump()),
        step=_step_options(config, rate),
        monitoring=_monitoring(config, tags),
        processes=Processes(mesh=mesh, elastic=config.parallel.elastic, exchange=config.parallel.exchange),
        owners={"config": ConfigState(resolved, only_watches)},
    )
    # The record tells where the data came from, also that the small digits stood in for MNIST.
    trainer.lineage.note_start(data=" ".join([data.source, *data.notes]))
    return Run(config, trainer, data, new_rate, verbosity, tuple(rate.counted))


def evaluate_weights(config: Config, weights: str, split: str = "test") -> dict[str, float]:
    """Loss and metrics of a checkpoint's weights on one split of the config's data.

    Raises CheckpointError for weights that are missing, damaged or do not fit, ConfigError for a split that
    the data does not have.
    """
    model, _, _ = model_with_weights(config, weights)
    splits = build_data(config)
    data = part_of(splits, split)
    metrics = build_metrics(config, splits.train)
    evaluator = Trainer(
        model,
        {},
        loss=component("loss", config.loss),
        metrics=metrics,
        seed=config.run.seed,
        console=False,
        logger=None,
    )
    return evaluator.evaluate(
        data, split, batch_size=config.data.global_batch_size, num_workers=config.data.num_workers
    )


def count_steps(config: Config, data: DataSplits) -> tuple[int, Optional[int]]:
    """How many steps the config's run on these data makes, and each of its epochs (None for a stream).

    Raises ConfigError if the first is not known before the run ends.
    """
    length = run_length(config, data)
    if length.total_steps is None:
        raise ConfigError(f"The length of {config.data.name} is not known; set trainer.max_steps.")
    return length.total_steps, length.steps_per_epoch


def run_length(config: Config, data: DataSplits) -> RunLength:
    """How long the config's run on these data is."""
    fed, options = config.data, config.trainer
    feed = Feed(
        data.train, batch_size=fed.global_batch_size, drop_last=fed.drop_last, limit_batches=options.limit_batches
    )
    batches = feed.batches_per_epoch
    return RunLength(options.epochs, options.max_steps, batches, options.accumulate_steps, fed.global_batch_size)


def only_watches(name: str) -> bool:
    """Whether the callback that a config calls `name` says of itself that no training depends on it.

    The name may be one of a record, which anybody may have written, so that nothing is imported for it.
    """
    if ":" in name:
        return says_of_itself(name, "only_watches")
    try:
        return getattr(resolve("callback", name), "only_watches", False) is True
    except ConfigError:  # It is in the config of a checkpoint, and its class is gone.
        return False


def _try_first_samples(config: Config, data: Any, model: Any, loss: Any, metrics: list[Any]) -> None:
    """Tell before training starts if data, model, loss and metrics do not go together; leaves no trace."""

    def forward(batch: Batch) -> tuple[Any, Any]:
        output = batch.through(model)
        return loss(output, batch.label), output

    feed = Feed(data, batch_size=2, seed=config.run.seed)
    names = f"model {config.model.name}, loss {config.loss.name}, metrics and data"
    try_first_samples(feed, model, forward, metrics, lambda: None, names)


def _step_options(config: Config, rate: Rate) -> StepOptions:
    options = config.trainer
    return StepOptions(
        accumulate_steps=options.accumulate_steps,
        lr_interval=rate.interval,
        lr_metric=rate.metric or VALID_LOSS,
        precision=Precision(options.amp, options.amp_dtype),
        on_nan=Divergence(options.on_nan, lr_factor=options.rollback_lr, max_rollbacks=options.max_rollbacks),
    )


def _monitoring(config: Config, tags: Sequence[str]) -> Monitoring:
    """Raises ConfigError for a best metric that no evaluation of this run gives."""
    options, best = config.trainer, config.best
    if best is not None and best.monitor not in tags:
        have = f"use {', '.join(tags)}" if tags else "there is no validation data"
        raise ConfigError(f"best.monitor: {best.monitor} is none of what an evaluation gives; {have}.")
    return Monitoring(
        log_every=options.log_every,
        evaluate_every=options.evaluate_every,
        ema=WeightAverage(**options.ema.model_dump()) if options.ema else None,
        best=Best(**best.model_dump()) if best is not None else None,
        check_resume=options.check_resume,
    )


def _build_callbacks(config: Config) -> list[Any]:
    return [build("callback", each.name, each.args, where=f"callbacks.{i}") for i, each in enumerate(config.callbacks)]
