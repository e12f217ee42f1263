"""The parts of the data that a config names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import paddle

from paddle_resume.builders.registry import build, resolve
from paddle_resume.config import Config
from paddle_resume.config.schema import DataConfig
from paddle_resume.data.image_shape import reshaped
from paddle_resume.data.mnist import label_names, load_mnist
from paddle_resume.data.splits import SPLITS, held_out
from paddle_resume.errors import ConfigError

MNIST_LIKE = ("mnist", "fashion_mnist")
_USUAL_SIZE = 224  # which the models of paddle.vision are made for


@dataclass(frozen=True)
class DataSplits:
    """The parts of the data that a config names, one line on where they come from, and what to know about them."""

    train: paddle.io.Dataset
    valid: Optional[paddle.io.Dataset]
    test: Optional[paddle.io.Dataset]
    source: str
    notes: list[str] = field(default_factory=list)


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
        train, valid, test = (_in_shape(part, data) for part in (splits.train, splits.valid, splits.test))
        return DataSplits(train, valid, test, splits.source, splits.notes)
    if data.transform is not None:
        has = "data.channels and data.size" if data.name == "ImageFolder" else "what the dataset itself gives"
        raise ConfigError(f"data.transform is for {' and '.join(MNIST_LIKE)}; for {data.name} it is {has}.")
    takes = inspect.signature(resolve("data", data.name)).parameters
    arguments = {**data.args, **_fields_as_arguments(data, takes)}

    def part(**supplied: Any) -> Any:
        return build("data", data.name, arguments, supplied=supplied)

    train = valid = test = None
    if "mode" not in takes or "mode" in data.args:
        train = part()
    elif "valid" in takes:
        train, valid, test = (part(mode=mode, valid=data.valid) for mode in SPLITS)
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


def describe(dataset: Any) -> dict[str, Any]:
    """What a dataset with a method `describe()` tells of itself, such as its number of classes."""
    if isinstance(dataset, paddle.io.Subset):
        dataset = dataset.dataset
    return dict(dataset.describe()) if hasattr(dataset, "describe") else {}


def class_names(config: Config, data: Any) -> Optional[Sequence[str]]:
    """What the dataset calls its classes, by label; None if it does not say."""
    if config.data.name in MNIST_LIKE:
        return label_names(config.data.name)
    while isinstance(data, paddle.io.Subset):
        data = data.dataset
    return getattr(data, "class_names", None)


def shape_advice(config: Config, model: paddle.nn.Layer, images: paddle.Tensor) -> str:
    """What to give where a model cannot take these images, [N, C, H, W]; empty where their shape is not the cause."""
    if images.ndim != 4:
        return ""
    found = int(images.shape[1])
    first = next((one for one in model.sublayers(include_self=True) if isinstance(one, paddle.nn.Conv2D)), None)
    wanted = found if first is None else int(first._in_channels)
    name = config.data.name
    if wanted != found:
        keys = {**dict.fromkeys(MNIST_LIKE, "data.transform.channels"), "ImageFolder": "data.channels"}
        give = f"give the images as many with -o {keys[name]}={wanted}" if name in keys and wanted in (1, 3) else ""
        return (
            f"{config.model.name} takes images of {wanted} channel{'s' if wanted > 1 else ''}, and {name} has {found}: "
            f"{give or 'have the dataset give as many'}."
        )
    keys = {**dict.fromkeys(MNIST_LIKE, "data.transform.resize"), "ImageFolder": "data.size"}
    side = int(min(images.shape[2:]))
    if first is None or side >= _USUAL_SIZE or name not in keys:
        return ""
    return f"If {side} pixels a side are too few for {config.model.name}, make them more, as with -o {keys[name]}=64."


def _in_shape(part: Any, data: DataConfig) -> Any:
    if part is None or data.transform is None:
        return part
    return reshaped(part, data.transform.channels, data.transform.resize)


def _fields_as_arguments(data: DataConfig, takes: Mapping[str, Any]) -> dict[str, Any]:
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
