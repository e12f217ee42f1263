"""One line of `doctor`, and what it can say."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Check:
    """One line: `status` is `ok`, `warning` (a run works, but slower or not everything) or `problem`."""

    name: str
    status: str
    text: str
    advice: str = ""
