"""The data of a run, from what `Trainer.train` was given: datasets or loaders, and how they are cut into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

import paddle

from paddle_resume.checked_arguments import Rule
from paddle_resume.data.feed import Feed
from paddle_resume.data.loader_options import loader_options
from paddle_resume.errors import ConfigError

_KINDS = (paddle.io.Dataset, paddle.io.DataLoader, Feed)


def _advice(value: Any) -> str:
    if isinstance(value, paddle.nn.Layer):
        return "the model belongs to Trainer(model, optimizer)"
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(hasattr(one, "shape") for one in value):
        return "write paddle.io.TensorDataset([x, y]) for two tensors of as many samples"
    if isinstance(value, paddle.Tensor):
        return "write paddle.io.TensorDataset([inputs, labels])"
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (str, type)):
        return "derive its class from paddle.io.Dataset"
    return ""


DATA = Rule(
    "a paddle.io.Dataset, an IterableDataset or a paddle.io.DataLoader",
    lambda value: isinstance(value, _KINDS),
    _advice,
)
TRAIN_DATA = replace(DATA, is_needed=True)
_DEFAULTS = {"global_batch_size": 32, "shuffle": True, "drop_last": False, "num_workers": 0}


@dataclass(frozen=True)
class DataOptions:
    """How data are fed; None: as a loader says or, for a dataset, as usual."""

    global_batch_size: Optional[int] = None
    shuffle: Optional[bool] = None
    drop_last: Optional[bool] = None
    num_workers: Optional[int] = None
    limit_batches: Optional[int] = None

    def feeds(
        self, train: Any, evaluation: Mapping[str, Any], common: Mapping[str, Any]
    ) -> tuple[Feed, dict[str, Feed]]:
        """The feed to train on, and those to evaluate on by split; `common` are options of all.

        Raises ConfigError for what a loader says otherwise, and for a limit of a stream.
        """
        self._require_no_other(train)
        told = {name: value for name, value in asdict(self).items() if value is not None}
        options = {**_DEFAULTS, "limit_batches": None, **told}
        options["batch_size"] = options.pop("global_batch_size")
        options.update(common)
        feed = Feed.of(train, **options)
        if feed.is_stream and self.limit_batches is not None:
            raise ConfigError(
                f"trainer.limit_batches: {self.limit_batches} is for data whose length is known, and "
                f"{type(feed.dataset).__name__} is a stream; give trainer.max_steps in its place."
            )
        del options["drop_last"], options["shuffle"]
        feeds = {
            split: Feed.of(data, **{**options, "shuffle": False})
            for split, data in evaluation.items()
            if data is not None
        }
        return feed, feeds

    def _require_no_other(self, data: Any) -> None:
        """Of two that say one thing differently, nobody knows which is meant."""
        if not isinstance(data, paddle.io.DataLoader):
            return
        loader = {**loader_options(data)}
        loader["global_batch_size"] = loader.get("batch_size")
        names = {"global_batch_size": "batch_size"}
        for name in _DEFAULTS:
            given, told = getattr(self, name), loader.get(name)
            if given is not None and told is not None and given != told:
                raise ConfigError(
                    f"Trainer.train({name}={given}) and DataLoader({names.get(name, name)}={told}) say one thing "
                    f"differently. Leave {name}= out, and the loader's counts; or give the loader's dataset in its "
                    "place."
                )
