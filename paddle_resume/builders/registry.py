"""From a name in the config to a class of the right kind, and to an object built with checked arguments."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, get_args

from paddle_resume.builders.own_modules import import_attribute, require_defined_by_user
from paddle_resume.checked_arguments import checked
from paddle_resume.config.trust import ADVICE, is_trusted
from paddle_resume.config.wording import nearest, show
from paddle_resume.errors import ConfigError, PaddleResumeError


@dataclass(frozen=True)
class _Kind:
    """What one config key names: a subclass of `base` (an import path), looked up in the module `home`."""

    key: str
    base: str
    home: str


KINDS = {
    "model": _Kind("model", "paddle.nn:Layer", "paddle.vision.models"),
    "data": _Kind("data", "paddle.io:Dataset", "paddle.vision.datasets"),
    "loss": _Kind("loss", "paddle.nn:Layer", "paddle.nn"),
    "metric": _Kind("metrics", "paddle.metric:Metric", "paddle.metric"),
    "optimizer": _Kind("optimizer", "paddle.optimizer:Optimizer", "paddle.optimizer"),
    "transform": _Kind("data.augment", "paddle_resume.data.augment:Transform", "paddle_resume.data.augment"),
    "lr": _Kind("optimizer.lr", "paddle.optimizer.lr:LRScheduler", "paddle.optimizer.lr"),
    "clip": _Kind("optimizer.clip", "paddle.nn.clip:ClipGradBase", "paddle.nn"),
    "regularizer": _Kind("optimizer.regularization", "paddle.regularizer:WeightDecayRegularizer", "paddle.regularizer"),
    "callback": _Kind("callbacks", "paddle_resume.training.callbacks:Callback", "paddle_resume.inspection"),
}

# What this package brings itself: it comes before Paddle's of the same name, and is imported when asked for.
OWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "model": ("paddle_resume.models", ("MNIST", "LeNet", "MLP", "TransformerLM")),
    "data": ("paddle_resume.data.datasets", ("Cifar10", "Cifar100", "ImageFolder", "TextDataset")),
    "metric": (
        "paddle_resume.metrics",
        ("Accuracy", "Auc", "ConfusionMatrix", "F1", "Perplexity", "Precision", "Recall", "TopK"),
    ),
    "lr": ("paddle_resume.lr.warmup", ("Warmup",)),
    "callback": ("paddle_resume.inspection", ("LookInside",)),
}
_DATASETS = ("MNIST", "FashionMNIST", "DatasetFolder", "VOC2012")
_UNSAFE = {"Flowers": "it unpacks the archive that the config names, wherever the paths in it lead"}
_REGISTERED: dict[tuple[str, str], Any] = {}

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MODEL_FUNCTIONS = "paddle.vision.models."


@checked()
def register(kind: str, name: str) -> Callable[[type], type]:
    """A class decorator: configs read in this process may call the class `name`.

    The class is checked when it is resolved. Raises KeyError for an unknown kind.
    """
    if kind not in KINDS:
        raise KeyError(f"{kind} is none of {', '.join(KINDS)}")

    def remember(cls: type) -> type:
        _REGISTERED[kind, name] = cls
        return cls

    return remember


def resolve(kind: str, name: str, where: str = "") -> Callable[..., Any]:
    """The class (or model function) that a config names; nothing is called to find it.

    `kind` is a key of KINDS. `name` is a registered name, one of OWN or of the kind's Paddle module, or an
    import path `my_package.module:Class` into a module of the user's own (`own_modules`). `where` is the config
    key that messages name.

    Raises ConfigError when there is no such name, it cannot be imported, or it is not of the kind.
    """
    where = where or KINDS[kind].key
    if name.rpartition(":")[2].startswith("_"):
        _refuse(kind, name, where, "is a private name")
    found = _import_path(kind, name, where) if ":" in name else _known(kind, name, where)
    reason = _why_not(kind, found)
    if reason:
        _refuse(kind, name, where, reason)
    if ":" in name and not _is_pinned(kind, name):
        require_defined_by_user(found, name, where)
    return found


def check_arguments(
    kind: str,
    found: Callable[..., Any],
    args: Mapping[str, Any],
    where: str = "",
    supplied: Mapping[str, Any] | None = None,
) -> None:
    """Check, without a call, that `found` takes the user's `args` and those that the trainer supplies.

    Raises ConfigError with the signature, and for an unknown argument with the nearest known one.
    """
    where, supplied = where or KINDS[kind].key, supplied or {}
    if args.get("pretrained") and _fetches_weights(found):
        raise ConfigError(
            f"{where}.pretrained: Paddle fetches a file for it from the network, and unpickles it; start from weights "
            f"that are there with --weights FILE. {ADVICE}."
        )
    taken = sorted(set(args) & set(supplied))
    if taken:
        raise ConfigError(
            f"{where}.{taken[0]}: the trainer supplies that; remove it from the config, or set {where}.lr in its place."
            if taken[0] == "learning_rate"
            else f"{where}.{taken[0]}: the trainer supplies that; remove it from the config."
        )
    try:
        signature = inspect.signature(found)
    except ValueError:  # written in C: the constructor itself will tell
        return
    try:
        signature.bind(**args, **supplied)
    except TypeError as error:
        unknown = [name for name in args if name not in signature.parameters]
        hint = nearest(unknown[0], signature.parameters) if unknown else None
        advice = f"; for {unknown[0]}, did you mean {hint}?" if hint else ""
        raise ConfigError(
            f"{where}: {found.__name__} cannot take these arguments: {error}{advice}\n"
            f"  its signature: {found.__name__}{_without_annotations(signature)}"
        ) from error


def build(
    kind: str,
    component_name: str,
    args: Mapping[str, Any],
    where: str = "",
    supplied: Mapping[str, Any] | None = None,
) -> Any:
    """The object that a config's `{name, **args}` describes; `supplied` are the trainer's arguments for it.

    Raises ConfigError as `resolve` and `check_arguments` do, when the constructor fails (with its text), and
    when a function returns something that is not of the kind. Other errors of this package pass unchanged.
    """
    where = where or KINDS[kind].key
    found = resolve(kind, component_name, where)
    check_arguments(kind, found, args, where, supplied)
    try:
        built = found(**args, **(supplied or {}))
    except PaddleResumeError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{where}: {component_name} could not be built with {dict(args)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(built, _base(kind)):
        _refuse(kind, component_name, where, f"returned {_describe(type(built))}")
    return built


def resolve_function(path: str, where: str) -> Callable[..., Any]:
    """The function at the import path `my_package.module:function`, for the config key `where`.

    Raises ConfigError when it cannot be imported or is no function.
    """
    if not _IMPORT_PATH.fullmatch(path):
        raise ConfigError(f"{where} is {show(path)}; expected a function by its import path, my_module:function")
    found = import_attribute(path, where)
    if not callable(found):
        raise ConfigError(f"{where}: {path} is {_describe(found)}; expected a function")
    require_defined_by_user(found, path, where)
    return found


def _fetches_weights(found: Callable[..., Any]) -> bool:
    """Whether `pretrained` makes Paddle do so, and the user does not vouch for it."""
    module = getattr(found, "__module__", None) or ""
    names = (found.__name__, f"{KINDS['model'].home}:{found.__name__}")
    return module.startswith(_MODEL_FUNCTIONS) and not any(map(is_trusted, names))


def _base(kind: str) -> type:
    module, _, name = KINDS[kind].base.partition(":")
    return getattr(importlib.import_module(module), name)


def _known(kind: str, name: str, where: str) -> Any:
    if (kind, name) in _REGISTERED:
        return _REGISTERED[kind, name]
    module, own = OWN.get(kind, ("", ()))
    home = importlib.import_module(module if name in own else KINDS[kind].home)
    found = getattr(home, name, None)
    if name not in own and name not in pinned_names(kind) and not is_trusted(name):
        if name in _UNSAFE:
            raise ConfigError(f"{where}.name: {name} is not built from a config: {_UNSAFE[name]}. {ADVICE}.")
        _refuse(kind, name, where, "is not known" if found is None else _why_not(kind, found) or "is not offered")
    if found is None:
        _refuse(kind, name, where, "is not known")
    return found


def _import_path(kind: str, name: str, where: str) -> Any:
    if not _IMPORT_PATH.fullmatch(name):
        _refuse(kind, name, where, "is not an import path")
    if _is_pinned(kind, name):
        module, _, attribute = name.partition(":")
        return getattr(importlib.import_module(module), attribute)
    return import_attribute(name, where)


def _is_pinned(kind: str, path: str) -> bool:
    """Whether the import path is that of a name which a config may use without one."""
    module, _, attribute = path.partition(":")
    own, names = OWN.get(kind, ("", ()))
    return (module == own and attribute in names) or (module == KINDS[kind].home and attribute in pinned_names(kind))


def _why_not(kind: str, found: Any) -> str:
    """Why `found` is not of the kind; empty if it is."""
    base = _base(kind)
    if inspect.isclass(found):
        if not issubclass(found, base):
            return f"is {_describe(found)}"
        if found is base or inspect.isabstract(found):
            return f"is {_describe(found)}, an abstract base"
        return ""
    if inspect.isfunction(found):
        if kind == "model" and found.__module__.startswith(_MODEL_FUNCTIONS):
            return ""
        returned = _returned_class(found)
        return "" if returned and issubclass(returned, base) else f"is {_describe(found)} without such a return type"
    return f"is {_describe(found)}"


def _returned_class(function: Any) -> type | None:
    """The class that a return annotation names; a text is looked up by its dots, never evaluated."""
    returned = function.__annotations__.get("return")
    if isinstance(returned, str):
        first, *rest = returned.strip("'\"").split(".")
        returned = function.__globals__.get(first)
        for name in rest:
            returned = getattr(returned, name, None)
    is_plain_class = inspect.isclass(returned) and not get_args(returned)  # list[int] is one too on Python 3.9
    return returned if is_plain_class else None


def _describe(found: Any) -> str:
    for is_such, noun in (
        (inspect.isclass, "class"),
        (inspect.isroutine, "function"),
        (inspect.ismodule, "module"),
    ):
        if is_such(found):
            module = getattr(found, "__module__", None)
            return f"the {noun} {module + '.' if module else ''}{found.__name__}"
    return f"an object of the class {type(found).__name__}"


def _refuse(kind: str, name: str, where: str, reason: str) -> NoReturn:
    hint = nearest(name, _names(kind))
    advice = f"did you mean {hint}?" if hint else "a class of yours is written my_package.module:Class"
    raise ConfigError(
        f"{where}.name: {show(name)} {reason}; expected a subclass of {KINDS[kind].base.replace(':', '.')}, "
        f"by its name in {KINDS[kind].home} or an import path; {advice}"
    )


def _names(kind: str) -> list[str]:
    """Every name that `resolve` takes without an import path; finding them imports nothing of OWN."""
    registered = [name for of_kind, name in _REGISTERED if of_kind == kind]
    return [*registered, *OWN.get(kind, ("", ()))[1], *pinned_names(kind)]


@cache
def pinned_names(kind: str) -> tuple[str, ...]:
    """What a config may choose from the kind's module of Paddle: what that module declares as its own and is of the
    kind, and of datasets those that neither unpickle nor unpack a file that a config names."""
    home = importlib.import_module(KINDS[kind].home)
    names = _DATASETS if kind == "data" else home.__all__
    return tuple(name for name in names if hasattr(home, name) and not _why_not(kind, getattr(home, name)))


def _without_annotations(signature: inspect.Signature) -> inspect.Signature:
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
