"""A run's history, as every checkpoint of it tells it: how it started, and each resume, change and rollback since."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

import xxhash

from paddle_resume.checkpoint.save_job import now
from paddle_resume.command_line import this_command
from paddle_resume.differences import Difference

_START, _RESUME, _CHANGE, _SKIP, _ROLLBACK = "start", "resume", "change", "skip", "rollback"
_INEXACT = "inexact"
# What of each event decides where the run goes from there; clocks, hosts and exact resumes do not.
_DECIDES = {
    _START: ("time", "host", "pid"),
    _RESUME: ("step", "differences"),
    _CHANGE: ("step", "changes"),
    _ROLLBACK: ("step", "to", "lr_scale"),
    _INEXACT: ("step", "differences"),
}


class Lineage:
    """The events of a run, the start first; only its methods add to them."""

    def __init__(self, events: Optional[Sequence[dict[str, Any]]] = None) -> None:
        self._events = [dict(event) for event in events] if events else [{"event": _START, **_whereabouts()}]

    @property
    def events(self) -> list[dict[str, Any]]:
        """A copy of all events, as a record holds them."""
        return [dict(event) for event in self._events]

    @property
    def start(self) -> dict[str, Any]:
        """A copy of the event of the start, with all that `note_start` was told."""
        return dict(self._events[0])

    @property
    def resumes(self) -> list[dict[str, Any]]:
        """The resumes, each with `step`, `exact` and `differences`."""
        return [dict(event) for event in self._events if event.get("event") == _RESUME]

    @property
    def course(self) -> int:
        """64 bits that are the same as long as the same steps come out the same: another start, a change, an inexact
        resume or a rollback begins another course."""
        turns = [
            [kind, *(event.get(key) for key in _DECIDES.get(kind, ()))]
            for event in self._events
            if (kind := str(event.get("event"))) in _DECIDES and not (kind == _RESUME and event.get("exact"))
        ]
        return xxhash.xxh3_64_intdigest(json.dumps(turns).encode())

    @property
    def is_exact(self) -> bool:
        """Whether the run is still bit for bit the one that started."""
        return all(event.get("exact", True) for event in self._events)

    @property
    def inexact_since(self) -> Optional[int]:
        """The first step that may not be that of the run that started; None if it is still exact."""
        return next((event["step"] for event in self._events if not event.get("exact", True)), None)

    def note_start(self, **facts: Any) -> None:
        """Keep where the run's data or first weights came from."""
        self._events[0].update(facts)

    def resumed(self, prefix: Path, step: int, differences: Iterable[Difference] = ()) -> None:
        """It went on from a checkpoint; exactly, if nothing differs."""
        lines = [str(difference) for difference in differences]
        event = {"event": _RESUME, "from": prefix.name, "step": step, "exact": not lines, "differences": lines}
        self._events.append({**event, **_whereabouts()})

    def changed(self, prefix: Path, step: int, changes: Iterable[Difference]) -> None:
        """It goes on with changes that were asked for, as reproducible as before."""
        lines = [str(change) for change in changes]
        event = {"event": _CHANGE, "from": prefix.name, "step": step, "changes": lines}
        self._events.append({**event, **_whereabouts()})

    def note(self, **facts: Any) -> None:
        """Keep more of the newest change or resume: what became of the learning rate, or of the logs."""
        kinds = (_CHANGE, _RESUME)
        for event in reversed(self._events):
            if event.get("event") in kinds:
                event.update(facts)
                return

    def inexact(self, step: int, why: str) -> None:
        """From `step` on it is not bit for bit the run that started, though no resume differed; noted once."""
        if any(event.get("event") == _INEXACT and event.get("differences") == [why] for event in self._events):
            return
        self._events.append({"event": _INEXACT, "step": step, "exact": False, "differences": [why], **_whereabouts()})

    def skipped(self, step: int, loss: str) -> None:
        """The update of `step` was left out."""
        self._events.append({"event": _SKIP, "step": step, "loss": loss})

    def rolled_back(self, step: int, to: str, lr_scale: float) -> None:
        """From `step` it went back to the checkpoint `to`, and on with the learning rate times `lr_scale`."""
        self._events.append({"event": _ROLLBACK, "step": step, "to": to, "lr_scale": lr_scale})


def _whereabouts() -> dict[str, Any]:
    command = this_command()
    return {
        "time": now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        **({"command": command} if command else {}),
    }
