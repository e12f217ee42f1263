"""What is no state in Paddle's own objects: names from a process-wide counter, helpers, caches; what a user names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import paddle
from paddle.base.framework import EagerParamBase

from paddle_resume.found_state.claims import Claims
from paddle_resume.owners.model import BufferState
from paddle_resume.owners.named_parameters import named_layers

DECLARED = "derived_attributes"
"""A class names in this tuple what the walker is to leave alone in its objects, since the program makes it anew."""

EARLIER = "_paddle_resume_walker"
"""A model's attribute with the walker that saw it when it was new."""
LAST_ITERATOR = "_paddle_resume_iterator"
"""A DataLoader's attribute with the iterator that it gave last."""
_LAYER = frozenset({EARLIER, "_full_name", "_helper", "_loaddict_holder", "_op_recorder", "_original_funcs"})
_OF_CLASS: dict[type, frozenset[str]] = {
    paddle.nn.Layer: _LAYER,
    EagerParamBase: frozenset({"_init_func", "_init_op_creator"}),
    # The list of names serves `get_opti_var_name_list` alone, and the helper is made anew in each step.
    paddle.optimizer.Optimizer: frozenset({"_name", "helper", "_opti_name_list"}),
    paddle.optimizer.lr.LRScheduler: frozenset({"_var_name"}),
    paddle.io.DataLoader: frozenset({"_iterator", LAST_ITERATOR}),
    # `fit` sets them at every start.
    paddle.callbacks.Callback: frozenset({"params"}),
    # What is of the process in those from which users derive their own.
    threading.Thread: frozenset(vars(threading.Thread())),
    logging.Handler: frozenset(vars(logging.Handler())),
}
_ACCUMULATORS = (
    *("_accumulators", "_accumulators_holder", "_master_weights", "_already_create_accumulator"),
    "_already_create_accumulater",  # as Paddle 2.6 has it
    *("_param_dict", "_auxiliary_vars", "_param_device_map"),
)
# Lists of what is listed elsewhere by parameter, made in the first step of an optimizer with `use_multi_tensor`.
_MULTI_TENSOR = (
    *("_velocity_dict", "_moment1_dict", "_moment2_dict", "_moment2_max_dict", "_beta1_pow_acc_dict"),
    *("_beta2_pow_acc_dict", "_master_weight_dict", "_regularization_method_dict", "_regularization_coeff_dict"),
)
_RATE = ("_learning_rate", "_learning_rate_map")


@cache
def derived_attributes(cls: type) -> frozenset[str]:
    """The attributes of objects of `cls` that follow from the program, by Paddle's rules and the class's own word."""
    found: set[str] = set()
    for base in cls.__mro__:
        found |= _OF_CLASS.get(base, frozenset())
        declared = vars(base).get(DECLARED, ())
        if isinstance(declared, (tuple, list, set, frozenset)):
            found |= {name for name in declared if isinstance(name, str)}
    layer: Any = paddle.nn.Layer
    if issubclass(cls, layer) and getattr(cls, "_build_once", None) is layer._build_once:
        found.add("_built")  # it says that `_build_once` was called, which does nothing here
    return frozenset(found)


def declare_derived(cls: type, names: Iterable[str]) -> None:
    """What `derived_attributes` of a class says, for one that cannot be changed."""
    known = _OF_CLASS.get(cls, frozenset())
    _OF_CLASS[cls] = known | frozenset(names)
    derived_attributes.cache_clear()


def is_own_container(cls: type, name: str) -> bool:
    """Whether the items of this attribute are called as if they were attributes: `fc.weight`, not `fc._parameters`."""
    return name in ("_parameters", "_buffers", "_sub_layers") and issubclass(cls, paddle.nn.Layer)


def claim_model(claims: Claims, model: paddle.nn.Layer, owner: str) -> None:
    """The values of all that `model.state_dict()` gives are the owner's, whatever it gives at that moment."""
    claims.tensors(lambda: persistable_tensors(model), owner)


def persistable_tensors(model: paddle.nn.Layer) -> list[paddle.Tensor]:
    """The parameters and persistable buffers of a model as they are now: the tensors of its `state_dict()`."""
    found: list[paddle.Tensor] = []
    for _, layer in named_layers(model):
        hidden = layer._non_persistable_buffer_names_set
        found += [parameter for parameter in layer._parameters.values() if parameter is not None]
        found += [each for name, each in layer._buffers.items() if each is not None and name not in hidden]
    return found


def claim_owned(
    claims: Claims, model: paddle.nn.Layer, optimizers: Mapping[str, Any], owners: Mapping[str, Any]
) -> None:
    """What the owners of a model and its optimizers save, as `paddle_owners` gives them."""
    claim_model(claims, model, "model")
    buffers = owners.get("buffers")
    if isinstance(buffers, BufferState):
        claims.tensors(lambda: buffers.tensors().values(), "buffers")
    for name, optimizer in optimizers.items():
        label = f".{name}" if name else ""
        # Paddle's wrapper for a mesh has the optimizer itself inside.
        for each in (optimizer, vars(optimizer).get("_inner_opt")):
            if each is not None:
                claim_optimizer(claims, each, f"optimizer{label}", f"scheduler{label}")


def claim_optimizer(claims: Claims, optimizer: Any, owner: str, rate_owner: str) -> None:
    """What an optimizer keeps for each parameter is the owner's, and its rate or schedule is `rate_owner`'s."""
    names = _ACCUMULATORS + _MULTI_TENSOR + (("state",) if isinstance(optimizer, paddle.optimizer.LBFGS) else ())
    claims.attributes(optimizer, names, owner)
    claims.attributes(optimizer, _RATE, rate_owner)
    if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
        _claim_scheduler(claims, optimizer._learning_rate, rate_owner)


def _claim_scheduler(claims: Claims, scheduler: Any, owner: str) -> None:
    """All but the functions that it calls, and what those hold; also of one inside of it."""
    claims.object(scheduler, owner)
    claims.roots[f"{owner}.class"] = type(scheduler)
    for name, value in vars(scheduler).items():
        if isinstance(value, paddle.optimizer.lr.LRScheduler):
            _claim_scheduler(claims, value, f"{owner}.{name}")
        elif callable(value):
            claims.roots[f"{owner}.{name}"] = value
