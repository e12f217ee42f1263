"""A look at a few of very many objects, to see whether something has moved in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Optional

import xxhash

from paddle_resume.errors import StateError
from paddle_resume.found_state.capture import Capture
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.known import Known
from paddle_resume.found_state.leaves import Names
from paddle_resume.found_state.node import BulkKind, Node
from paddle_resume.found_state.refusals import Refusals
from paddle_resume.found_state.stored_arrays import ArraySink, raw_bytes
from paddle_resume.found_state.walk import Walk

_LOOKED_AT = 16
_MOST_NODES = 500  # in all of them


class Samples:
    """The digests of a few objects of each container that is not looked into, as they were at the start."""

    def __init__(self, order: Sequence[Node], known: Known) -> None:
        self._known = known
        self._chosen = {node.path: _chosen(node.values) for node in order if isinstance(node.kind, BulkKind)}
        self._digests = {path: self._digest(chosen) for path, chosen in self._chosen.items()}

    def check(self, refusals: Refusals) -> None:
        """Refuse each container in whose objects something has moved."""
        for path, chosen in self._chosen.items():
            if self._digests[path] is not None and self._digest(chosen) != self._digests[path]:
                refusals.add(path, "very many objects, in which something has moved since the start")

    def _digest(self, chosen: list[Any]) -> Optional[str]:
        sink = ArraySink()
        walk = Walk({"": chosen}, Claims(), is_part=True, most=_MOST_NODES)
        try:
            walk.run()
            record = Capture(walk, self._known, Names({}, sink), Refusals(), 1).record()
        except (StateError, RecursionError):
            return None
        parts = [json.dumps(record["new"], default=lambda array: array.tobytes().hex())]
        parts += [xxhash.xxh3_64_hexdigest(raw_bytes(array)) for array in sink.arrays.values()]
        return xxhash.xxh3_64_hexdigest(json.dumps(parts).encode())


def _chosen(values: Sequence[Any]) -> list[Any]:
    return list(values[:: max(1, len(values) // _LOOKED_AT)])
