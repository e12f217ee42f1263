"""Owner of what a run is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_resume.data.fed_differences import identity_differences
from paddle_resume.data.feed import Feed
from paddle_resume.differences import Difference


class EvaluationData:
    """Compares the data that a run is evaluated on; there is no position in it to restore."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        self._feeds = feeds

    def state_dict(self) -> dict[str, Any]:
        return {split: feed.identity() for split, feed in self._feeds.items()}

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        now = self.state_dict()
        splits = dict.fromkeys([*state, *now])
        return [one for s in splits for one in identity_differences(f"{s} data", state.get(s, {}), now.get(s, {}))]
