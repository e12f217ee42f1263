"""The model, the metrics and the device that a config names, and the model with somebody's weights in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Optional

import paddle

from paddle_resume.builders.data import build_data, class_names, describe
from paddle_resume.builders.lr_schedule import check_rate
from paddle_resume.builders.optimizer import check_optimizer
from paddle_resume.builders.registry import build, check_arguments, resolve
from paddle_resume.checked_arguments import checked
from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.config import Component, Config
from paddle_resume.environment import prefer_repeatable_kernels
from paddle_resume.errors import ConfigError
from paddle_resume.owners.model import load_weights
from paddle_resume.parallel.world import World
from paddle_resume.rng import seed_everything

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@checked()
def build_model(config: Config, described: Mapping[str, Any] = _NOTHING) -> paddle.nn.Layer:
    """The model, with freshly drawn parameters; `described` is what `describe` says of its data."""
    return build("model", config.model.name, model_arguments(config, described))


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


def model_with_weights(config: Config, weights: str, train_data: Any = None) -> tuple[paddle.nn.Layer, Path, Arrays]:
    """The config's model filled with the weights that `weights` means, the file they lie in, and the weights.

    The one way from a `--weights` to a model that is not trained any more: evaluation, export, prediction and
    generation. `train_data`, if it is there already, need not be read to fill in arguments that are `auto`.
    Raises CheckpointError for weights that are missing, damaged or do not fit.
    """
    path, arrays = read_weights(weights)
    check_components(config)
    choose_device(config)
    model = build_model(config, _described(config, train_data))
    load_weights(model, arrays, source=str(path))
    return model, path, arrays


def build_model_with(config: Config, weights: Optional[str]) -> paddle.nn.Layer:
    """The model on its device with `weights` (a checkpoint's prefix, or a `.pdparams` file).

    Without any it has those that a run of this config starts from. Raises CheckpointError and ConfigError.
    """
    if weights is not None:
        return model_with_weights(config, weights)[0]
    check_components(config)
    choose_device(config)
    seed_everything(config.run.seed)
    return build_model(config, _described(config))


def build_metrics(config: Config, data: Any = None) -> list[paddle.metric.Metric]:
    """The metrics, empty; those that speak of classes call them as `data` does."""
    metrics = []
    for i, component in enumerate(config.metrics):
        metric = build("metric", component.name, component.args, where=f"metrics.{i}")
        if component.splits is not None:
            metric.splits = tuple(component.splits)
        if getattr(metric, "class_names", ()) is None:
            metric.class_names = class_names(config, data)
        if config.loss.name == "BCELoss" and getattr(metric, "from_logits", False):
            raise ConfigError(
                f"metrics.{i}: {component.name} takes the outputs for logits, and loss.name: BCELoss for "
                "probabilities; set the metric's from_logits: false, or the loss to BCEWithLogitsLoss."
            )
        metrics.append(metric)
    return metrics


def choose_device(config: Config) -> None:
    """Compute on the device that the config names; raises ConfigError if it is not there.

    Among several processes each has been given a device of its own by the launcher.
    """
    wanted = config.run.device
    if wanted in ("auto", "gpu") and not World.current().is_single:
        wanted = paddle.device.get_device()
    if wanted == "auto":
        wanted = "gpu" if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else "cpu"
    try:
        paddle.set_device(wanted)
    except Exception as error:
        raise ConfigError(
            f"run.device: {wanted} cannot be used: {error}. Use auto or cpu, or install the [gpu] extra."
        ) from error
    prefer_repeatable_kernels()


def check_components(config: Config) -> None:
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


def _described(config: Config, train_data: Any = None) -> Mapping[str, Any]:
    """What the data says of itself, if an argument of the model asks for it."""
    if "auto" not in config.model.args.values():
        return _NOTHING
    return describe(build_data(config).train if train_data is None else train_data)


def component(kind: str, component: Component) -> Any:
    return build(kind, component.name, component.args)
