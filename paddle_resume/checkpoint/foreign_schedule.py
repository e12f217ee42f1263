"""What the `LR_Scheduler` in a foreign `.pdopt` says of our scheduler, and what of it remains unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import numpy as np

from paddle_resume.differences import Difference


def scheduler_state(ours: dict[str, Any], rate: dict[Any, Any]) -> tuple[Optional[dict[str, Any]], list[Difference]]:
    """Our scheduler's state with what the file's `LR_Scheduler` says, and what of it remains unknown."""
    if ours["class"] == "float":
        return None, [
            Difference("learning rate", f"a schedule at {_shown(rate.get('last_lr'))}", f"{ours['state']['value']}")
        ]
    lines = [Difference("learning rate schedule", "class and arguments not saved", f"{ours['class']} as configured")]
    unused = {key: value for key, value in rate.items() if value is not None}
    taken: dict[str, dict[str, Any]] = {"given": dict(ours["given"]), "state": dict(ours["state"])}
    for part, name, mine in [(p, name, mine) for p in taken for name, mine in ours[p].items()]:
        if isinstance(mine, dict) and "class" in mine:
            # Paddle keeps the state of the schedule within a LinearWarmup under a name of its own.
            within = next((unused.pop(key) for key in list(unused) if isinstance(unused[key], dict)), None)
            inner, more = scheduler_state(mine, within) if within is not None else (None, [])
            taken[part][name] = inner or mine
            lines += [replace(one, subject=f"{one.subject} (within)") for one in more[1:]]
        elif part == "state":
            theirs = unused.pop(name, None)
            if _alike(mine, theirs):
                taken[part][name] = theirs.item() if isinstance(theirs, (np.ndarray, np.generic)) else theirs
            else:
                lines.append(Difference(f"learning rate {ours['class']}.{name}", "not saved", f"{_shown(mine)}"))
    lines += [Difference(f"learning rate {str(key)[:40]}", "saved", f"unknown to {ours['class']}") for key in unused]
    return {**ours, **taken}, lines


def _alike(mine: Any, theirs: Any) -> bool:
    """Whether both are numbers, or lists of numbers of one length: nothing else is put into a scheduler."""
    if isinstance(mine, list):
        return isinstance(theirs, list) and len(theirs) == len(mine) and all(map(_alike, mine, theirs))
    if isinstance(theirs, np.ndarray) and theirs.size == 1:
        theirs = theirs.item()
    numbers = (bool, int, float, np.number)
    return isinstance(mine, numbers) and isinstance(theirs, numbers)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, (bool, int, float, np.number, type(None))) else type(value).__name__
