"""Batches from an `IterableDataset`, with generators of its own and a position that can be returned to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Callable, Optional

from paddle.io.dataloader.collate import default_collate_fn

from paddle_resume.data.sample_loader import as_batch, seed_sample
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.stateful import Stateful

_STREAM = 1  # Keeps the stream's seeds apart from those of samples.


class Stream:
    """One pass over an `IterableDataset` per epoch, resumable within the epoch.

    If the dataset offers `state_dict()` and `set_state_dict()`, resuming hands its state back, and iterating it
    afterwards must go on from there. If not, the samples before the position are drawn again and dropped.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        seed: int,
        batch_size: int,
        drop_last: bool = False,
        collate_fn: Optional[Callable[..., Any]] = None,
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._collate = collate_fn or default_collate_fn
        self._position: Optional[dict[str, Any]] = None
        self._pending: Optional[dict[str, Any]] = None

    @property
    def replays(self) -> bool:
        """Whether resuming within an epoch draws the earlier samples again."""
        return not isinstance(self._dataset, Stateful)

    def batches(self, epoch: int, samples: int) -> Iterator[list[Any]]:
        """The batches of `epoch` after its first `samples` samples.

        The dataset draws from the global generators, so they are exchanged for the stream's own while it does.
        """
        streams = RandomStreams(self._seed)
        pending, self._pending = self._pending, None
        with preserved():
            if pending:
                self._dataset.set_state_dict(pending["dataset"])
                streams.set_state_dict(pending["random"])
            else:
                seed_sample(self._seed, epoch, _STREAM)
            iterator = iter(self._dataset)
            if not pending:
                for _ in itertools.islice(iterator, samples):
                    pass
            private = streams.state_dict()
        while True:
            with preserved():
                streams.set_state_dict(private)
                streams.begin_step(samples)
                group = list(itertools.islice(iterator, self._batch_size))
                private = streams.state_dict()
                if not group or (self._drop_last and len(group) < self._batch_size):
                    return
                samples += len(group)
                self._position = None if self.replays else {"dataset": self._dataset.state_dict(), "random": private}
                batch = self._collate(group)
            yield as_batch(batch)

    def finish(self) -> None:
        """Forget the position: the next epoch starts at its beginning."""
        self._position = self._pending = None

    def state_dict(self) -> dict[str, Any]:
        return {"position": self._position}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self._position = self._pending = state["position"]
