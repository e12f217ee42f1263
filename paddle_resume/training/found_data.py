"""What the data of a run hold: found like all else, but as whoever draws the samples again has to find it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np

from paddle_resume.data.feed import Feed
from paddle_resume.data.stream import HeldByStream
from paddle_resume.errors import StateError
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.known import is_below
from paddle_resume.found_state.owners import FoundState
from paddle_resume.found_state.walker import Walker

BringBack = Callable[[], Callable[[], None]]
"""Looks at all that is found in a run, and gives what brings it back to where it is at that moment."""
_OF_A_RUN = ("start", "told")
"""What the record of the whole run says anyway."""


def data_roots(feeds: Mapping[str, Feed], claims: Claims) -> dict[str, Any]:
    """The datasets, samplers and collate functions of these feeds, by name."""
    roots: dict[str, Any] = {}
    for name, feed in feeds.items():
        claims.object(feed, "data")
        if feed.is_stream and feed.replayed is None:  # its own state says where it is
            claims.object(feed.dataset, "data")
        roots[f"data.{name}"] = feed.dataset
        if feed.sampler is not None:
            roots[f"data.{name}.sampler"] = feed.sampler
        if feed.collate is not None:
            roots[f"data.{name}.collate_fn"] = feed.collate
    return roots


def remade(feeds: Mapping[str, Feed]) -> list[str]:
    """Which of those roots are streams whose samples are drawn again on a resume."""
    return [f"data.{name}" for name, feed in feeds.items() if feed.replayed is not None]


def watch_data(
    feeds: Mapping[str, Feed],
    trained: Collection[str],
    claims: Claims,
    walker: Walker,
    found: FoundState,
    bring_back: BringBack,
) -> None:
    """Have what is found in the data be there, and be left alone, where samples are drawn again or by workers.

    `trained` are the names of those on which steps are made.
    """
    for name, feed in feeds.items():
        if feed.replayed is not None:
            feed.replayed.held = _HeldByDataset(f"data.{name}", feed.dataset, claims, walker, bring_back)
    for name in trained:
        feeds[name].while_workers_load = _Untouched(feeds[name], f"data.{name}", walker, found).while_workers_load


class _HeldByDataset(HeldByStream):
    """What is found in the dataset of a stream without `state_dict()`.

    Drawing samples again moves what the dataset holds, and whatever else it reaches, a second time. So that is done
    from what it held when the pass began, and then everything is brought back.
    """

    def __init__(self, name: str, dataset: Any, claims: Claims, of_run: Walker, bring_back: BringBack) -> None:
        self._walker = Walker({name: dataset}, claims, of_run, [name])
        self._bring_back = bring_back

    def now(self) -> Any:
        record, arrays = self._walker.capture()
        found = {key: value for key, value in record.items() if key not in _OF_A_RUN}
        return {"found": found, "arrays": {name: array.copy() for name, array in arrays.items()}}

    @contextmanager
    def as_at(self, begun: Any) -> Iterator[None]:
        bring_back = self._bring_back()
        self._walker.restore(begun["found"], begun["arrays"])
        try:
            yield
            self._walker.capture()  # What the pass has made and no record can hold is left alone from here on.
        finally:
            bring_back()


class _Untouched:
    """While workers, with copies of their own, read the training data, nobody changes these in this process.

    They would not see it, and those of a resume would. It would show only at the save before it, which refuses.
    """

    def __init__(self, feed: Feed, place: str, walker: Walker, found: FoundState) -> None:
        self._feed = feed
        self._place = place
        self._walker = walker
        self._found = found

    @contextmanager
    def while_workers_load(self) -> Iterator[None]:
        begun = _below(self._place, *self._walker.capture())

        def require_the_same(record: Any, arrays: Mapping[str, np.ndarray]) -> None:
            now = _below(self._place, record, arrays)
            changed = sorted(path for path in {*begun, *now} if begun.get(path) != now.get(path))
            if changed and not self._feed.exhausted:
                raise StateError(
                    f"{changed[0]} was changed while data workers, which do not see it, read the epoch; those of a "
                    "resume would. Change it in on_epoch_begin or on_epoch_end, or load without workers (num_workers: "
                    "0)."
                )

        self._found.requirements.append(require_the_same)
        try:
            yield
        finally:
            self._found.requirements.remove(require_the_same)


def _below(place: str, record: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What has moved in these data, by path, in a form that can be compared."""
    values = {path: array.tobytes() for path, array in arrays.items() if is_below(path, [place])}
    entries = {path: (repr(entry), values.pop(path, None)) for path, entry in record["moved"].items()}
    return {**values, **{path: entry for path, entry in entries.items() if is_below(path, [place])}}
