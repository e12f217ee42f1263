"""Parameters chosen by patterns of their names: Paddle's parameter groups, their clipping, and regularizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import paddle

from paddle_resume.checked_arguments import checked
from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError
from paddle_resume.owners.parameter_patterns import matches, parameter_names, require_matches


@checked()
def parameter_groups(
    model: paddle.nn.Layer,
    groups: Sequence[Mapping[str, Any]] = (),
    *,
    no_weight_decay: Sequence[str] = (),
    decay_argument: str = "weight_decay",
    where: str = "",
) -> list[dict[str, Any]]:
    """The model's parameters as the list of dicts that `paddle.optimizer` takes for `parameters`.

    Args:
        model: each of its parameters gets into exactly one group, in the model's order.
        groups: `{"match": [pattern, ...], "lr_scale": 0.1, "weight_decay": 0.0}`; what is left out is as for the
            whole optimizer. The first group that matches counts; what none matches is the last group.
        no_weight_decay: patterns of parameters whose weight decay is 0, in whichever group they are.
        decay_argument: what the optimizer calls weight decay; `lamb_weight_decay` for Lamb.
        where: what stands before the keys in messages.

    A pattern is a glob (`*`, `?`, `[abc]`) on the whole structured name: `*.bias`, `features.*`. Without
    `lr_scale`, a parameter keeps the learning rate of its `ParamAttr`. Raises ConfigError for a pattern that
    matches nothing, and for a group that is left with nothing.
    """
    names = parameter_names(model)
    lists = [(f"{where}groups.{i}.match", group["match"]) for i, group in enumerate(groups)]
    for place, patterns in [*lists, (f"{where}no_weight_decay", no_weight_decay)]:
        require_matches(place, patterns, names)
    buckets: dict[tuple[Any, ...], dict[str, Any]] = {}
    taken: set[int] = set()
    for index in range(len(groups) + 1):  # one after the other, so that the rest comes last
        rule: Mapping[str, Any] = groups[index] if index < len(groups) else {"match": ["*"]}
        for parameter in model.parameters():
            if id(parameter) in taken or not matches(names[parameter.name], rule["match"]):
                continue
            taken.add(id(parameter))
            options = _options(rule, parameter, matches(names[parameter.name], no_weight_decay), decay_argument)
            key = (index, *sorted((name, repr(value)) for name, value in options.items()))
            buckets.setdefault(key, {"params": [], **options})["params"].append(parameter)
        if index < len(groups) and not any(key[0] == index for key in buckets):
            raise ConfigError(
                f"{where}groups.{index}.match: {show(list(rule['match']))} matches only parameters that an earlier "
                "group has; the first group that matches counts, so put the narrower one first."
            )
    return list(buckets.values())


@checked()
def regularize(model: paddle.nn.Layer, rules: Sequence[Mapping[str, Any]], *, where: str = "") -> None:
    """Give parameters regularizers of their own, as `paddle.ParamAttr(regularizer=...)` does.

    Each rule is `{"match": [pattern, ...], "regularizer": paddle.regularizer.L1Decay(1e-4)}`; the first that matches
    counts. Call it after the optimizer is built, since Paddle's parameter groups set regularizers too. Raises
    ConfigError for a pattern that matches nothing.
    """
    names = parameter_names(model)
    for i, rule in enumerate(rules):
        require_matches(f"{where}regularization.{i}.match", rule["match"], names)
    for parameter in model.parameters():
        found = next((rule for rule in rules if matches(names[parameter.name], rule["match"])), None)
        if found is not None:
            parameter.regularizer = found["regularizer"]


class ClipAcrossGroups(paddle.nn.clip.ClipGradBase):
    """Clips the gradients of all parameter groups together, as `ClipGradByGlobalNorm` is meant.

    Paddle hands each parameter group to its clip by itself, so that the global norm is that of one group only. This
    one clips all of them when the first group comes, and then hands out what belongs to each.

    Args:
        clip: any gradient clipping of `paddle.nn`.
        parameters: those of all groups; the norm is summed up in this order, which decides its last bits.
    """

    def __init__(self, clip: Any, parameters: Iterable[paddle.Tensor]) -> None:
        super().__init__()
        self.clip = clip
        self._parameters = list(parameters)
        self._clipped: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.clip}, over all parameter groups"

    def __call__(self, params_grads: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        # What a group finds taken was clipped in an earlier step.
        if any(parameter.name not in self._clipped for parameter, _ in params_grads):
            every = [(p, p.grad) for p in self._parameters if not p.stop_gradient and p.grad is not None]
            self._clipped = {parameter.name: gradient for parameter, gradient in self.clip(every)}
        return [(parameter, self._clipped.pop(parameter.name)) for parameter, _ in params_grads]


def _options(rule: Mapping[str, Any], parameter: Any, undecayed: bool, decay_argument: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    scale = rule.get("lr_scale")
    if scale is None:  # Paddle would forget what the layer was built with.
        scale = parameter.optimize_attr.get("learning_rate", 1.0)
    if scale != 1.0:
        options["learning_rate"] = scale if not isinstance(scale, int) else float(scale)
    decay = 0.0 if undecayed else rule.get("weight_decay")
    if decay is not None:
        options[decay_argument] = float(decay) if isinstance(decay, int) else decay
    return options
