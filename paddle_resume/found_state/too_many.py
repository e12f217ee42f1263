"""What to say where more can be reached from a run than a save could go through."""

from __future__ import annotations

import re
from collections.abc import Sequence

from paddle_resume.found_state.node import Node

_HOLDER = re.compile(r"[^.\[]*(?:\[[^\]]*\])?(?:\.[^.\[]+)?")


def too_many(order: Sequence[Node], limit: int) -> str:
    """Where most of these nodes lie, and what to do about it."""
    counts: dict[str, int] = {}
    for node in order:
        found = _HOLDER.match(node.path)
        name = found[0] if found else ""
        counts[name] = counts.get(name, 0) + 1
    most = max(counts, key=counts.__getitem__)
    return (
        f"More than {limit:,} objects can be reached from the run, {counts[most]:,} of them from {most}: too many "
        "to save. Give its owner state_dict() and set_state_dict(), or name it in derived_attributes of its class if "
        "the program makes it anew."
    )
