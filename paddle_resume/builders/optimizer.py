"""From the `optimizer` section of a config to a Paddle optimizer, with what cannot work told at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Union

import paddle

from paddle_resume.builders.parameter_groups import ClipAcrossGroups, parameter_groups, regularize
from paddle_resume.builders.registry import build, check_arguments, resolve
from paddle_resume.checked_arguments import checked
from paddle_resume.config import Component
from paddle_resume.config.optimizer import OptimizerConfig
from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError

# Arguments of Paddle's that are objects or functions, and the keys that stand for them here.
_ELSEWHERE = {
    "grad_clip": "optimizer.clip",
    "apply_decay_param_fun": "optimizer.no_weight_decay",
    "exclude_from_weight_decay_fn": "optimizer.no_weight_decay",
    "lr_ratio": "optimizer.groups with lr_scale",
}
_LBFGS = "it makes one step over all parameters at once and would ignore it without a word"
_RPROP = "it keeps a learning rate for each single weight, which only starts from the given one"


@checked()
def build_optimizer(
    section: OptimizerConfig, model: paddle.nn.Layer, rate: Union[float, paddle.optimizer.lr.LRScheduler]
) -> paddle.optimizer.Optimizer:
    """The optimizer of a config's section for a freshly built model, at the learning rate or schedule `rate`.

    With groups, `ClipGradByGlobalNorm` measures all of them together; a regularizer that a layer was built with
    (`ParamAttr`) stays, unless a group gives that parameter a weight decay. Raises ConfigError for whatever
    `check_optimizer` refuses, and for a pattern that matches no parameter.
    """
    found = check_optimizer(section)
    args = _plain_arguments(section)
    parameters: list[Any] = model.parameters()
    built_with = {p.name: p.regularizer for p in parameters if getattr(p, "regularizer", None) is not None}
    grouped = bool(section.groups or section.no_weight_decay)
    if grouped:
        parameters = parameter_groups(
            model,
            [_group(i, group) for i, group in enumerate(section.groups)],
            no_weight_decay=section.no_weight_decay,
            decay_argument=_decay_argument(found) or "weight_decay",
            where="optimizer.",
        )
        for group in parameters:
            for parameter in group["params"] if "weight_decay" in group else ():
                built_with.pop(parameter.name, None)
    if section.clip is not None:
        args["grad_clip"] = build("clip", section.clip.name, section.clip.args)
        if grouped and isinstance(args["grad_clip"], paddle.nn.ClipGradByGlobalNorm):
            args["grad_clip"] = ClipAcrossGroups(args["grad_clip"], model.parameters())
    optimizer = build("optimizer", section.name, args, supplied={"learning_rate": rate, "parameters": parameters})
    for parameter in model.parameters():
        if parameter.name in built_with:
            parameter.regularizer = built_with[parameter.name]
    rules = []
    for i, rule in enumerate(section.regularization):
        regularizer = build("regularizer", rule.name, rule.args, f"optimizer.regularization.{i}")
        rules.append({"match": rule.match, "regularizer": regularizer})
    regularize(model, rules, where="optimizer.")
    return optimizer


def check_optimizer(section: OptimizerConfig) -> Callable[..., Any]:
    """The optimizer's class, after all that can be told without the model: names, arguments, combinations.

    Raises ConfigError naming the key, its value, why it cannot be, and what to use instead.
    """
    found = resolve("optimizer", section.name)
    _refuse_functions(section)
    if _is(found, "LBFGS"):
        _check_lbfgs(section)
    elif _is(found, "Rprop"):
        _check_rprop(section)
    _check_decay(section, found)
    _check_clip(section, found)
    _check_regularization(section, found)
    args = _plain_arguments(section)
    check_arguments("optimizer", found, args, supplied={"learning_rate": 0.1, "parameters": []})
    return found


def _refuse_functions(section: OptimizerConfig) -> None:
    for key, instead in _ELSEWHERE.items():
        if key in section.args:
            _refuse(section, key, section.args[key], "Paddle takes an object there, which YAML cannot hold", instead)


def _check_lbfgs(section: OptimizerConfig) -> None:
    for key in ("clip", "weight_decay", "no_weight_decay", "groups", "regularization"):
        value = getattr(section, key, None)
        if value:
            _refuse(section, key, value, _LBFGS, f"leave {key} out, or choose another optimizer")
    if isinstance(section.lr, Component):
        _refuse(section, "lr", section.lr, "it takes a number and no schedule", "give a number, 1.0 is usual")


def _check_rprop(section: OptimizerConfig) -> None:
    for key in ("groups", "no_weight_decay"):
        value = getattr(section, key)
        if value:
            _refuse(section, key, value, _RPROP, f"leave {key} out, or choose another optimizer")
    if isinstance(section.lr, Component):
        _refuse(section, "lr", section.lr, _RPROP, "give a number")


def _check_decay(section: OptimizerConfig, found: Callable[..., Any]) -> None:
    """Weight decay of the whole, of groups, and of none: only where the optimizer has any."""
    argument = _decay_argument(found)
    given = {"weight_decay": section.args["weight_decay"]} if "weight_decay" in section.args else {}
    if given and argument != "weight_decay":
        instead = f"write {argument}" if argument else "leave it out, or give optimizer.regularization"
        _refuse(section, "weight_decay", given["weight_decay"], "it has no such argument", instead)
    for i, group in enumerate(section.groups):
        if group.weight_decay is not None:
            given[f"groups.{i}.weight_decay"] = group.weight_decay
    for key, value in given.items():
        if argument is None:
            _refuse(section, key, value, "it has no weight decay", "leave it out, or give optimizer.regularization")
        if isinstance(value, (dict, Component)) and _decays_apart(found):
            _refuse(section, key, value, "it decays weights apart from their gradients", "give a number")
        _decay(f"optimizer.{key}", value)
    if section.no_weight_decay and not (given or _has_default(found, argument) or argument in section.args):
        reason = "there is no weight decay to be without"
        _refuse(section, "no_weight_decay", section.no_weight_decay, reason, "set optimizer.weight_decay as well")


def _check_clip(section: OptimizerConfig, found: Callable[..., Any]) -> None:
    if section.clip is None:
        return
    check_arguments("clip", resolve("clip", section.clip.name), section.clip.args)
    if "grad_clip" not in inspect.signature(found).parameters:
        _refuse(section, "clip", section.clip, "it takes no grad_clip", "leave it out, or give its class that argument")


def _check_regularization(section: OptimizerConfig, found: Callable[..., Any]) -> None:
    for i, rule in enumerate(section.regularization):
        where = f"optimizer.regularization.{i}"
        kind = resolve("regularizer", rule.name, where)
        check_arguments("regularizer", kind, rule.args, where)
        if _decays_apart(found) and kind is paddle.regularizer.L2Decay:
            reason = "it decays weights apart from their gradients, and L2Decay would change the gradients as well"
            instead = "use optimizer.groups with weight_decay; L1Decay is added to the gradients and is accepted"
            _refuse(section, f"regularization.{i}", rule, reason, instead)


def _plain_arguments(section: OptimizerConfig) -> dict[str, Any]:
    """The arguments in the types that Paddle takes, the weight decay as a float or a regularizer."""
    args = section.args
    if "weight_decay" in args:
        args["weight_decay"] = _decay("optimizer.weight_decay", args["weight_decay"])
    return args


def _group(index: int, group: Any) -> dict[str, Any]:
    decay = group.weight_decay
    if decay is not None:
        decay = _decay(f"optimizer.groups.{index}.weight_decay", decay)
    return {"match": group.match, "lr_scale": group.lr_scale, "weight_decay": decay}


def _decay(where: str, value: Any) -> Any:
    """A weight decay as Paddle takes it: a float (2.6 takes no int), a regularizer, or None."""
    if isinstance(value, Component):
        value = {"name": value.name, **value.args}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        args = {key: item for key, item in value.items() if key != "name"}
        return build("regularizer", value["name"], args, where)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return None if value is None else float(value)
    raise ConfigError(
        f"{where} is {show(value)}; expected a number, or a regularizer such as {{name: L1Decay, coeff: 0.0001}}"
    )


def _decay_argument(found: Callable[..., Any]) -> str | None:
    """What the optimizer calls its weight decay; None if it has none."""
    known = inspect.signature(found).parameters
    return next((name for name in ("weight_decay", "lamb_weight_decay") if name in known), None)


def _has_default(found: Callable[..., Any], argument: str | None) -> bool:
    default = inspect.signature(found).parameters[argument].default if argument else None
    return default not in (None, inspect.Parameter.empty)


def _decays_apart(found: Callable[..., Any]) -> bool:
    """Whether the optimizer shrinks the weights themselves, and adds nothing to the gradients."""
    return _is(found, "AdamW") or _is(found, "Lamb")


def _is(found: Callable[..., Any], name: str) -> bool:
    """Whether `found` is a class of that name of paddle.optimizer, which Paddle 2.6 may lack, or derived from it."""
    base = getattr(paddle.optimizer, name, None)
    return inspect.isclass(found) and inspect.isclass(base) and issubclass(found, base)


def _refuse(section: OptimizerConfig, key: str, value: Any, reason: str, instead: str) -> NoReturn:
    raise ConfigError(
        f"optimizer.{key}: {show(_plain(value))} cannot be used with {section.name}: {reason}; {_sentence(instead)}"
    )


def _sentence(instead: str) -> str:
    return f"use {instead} instead" if instead.startswith("optimizer.") else instead


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.model_dump(exclude_defaults=True) if hasattr(value, "model_dump") else value
