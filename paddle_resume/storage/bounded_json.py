"""JSON that somebody else may have written: what would take more memory or time than its length allows is refused."""

from __future__ import annotations

import json
from typing import Any, Optional

_VALUES = 500_000
_BYTES_A_VALUE = 16
_DEPTH = 100
_DIGITS = 1000


def parse_json(raw: bytes, most: Optional[int] = None, **hooks: Any) -> Any:
    """The value of a JSON text in UTF-8; raises ValueError if it is none, or too much. `hooks` are those of `json`.

    Values are counted before any is made: `most`, or half a million and one more for each 16 bytes. As deep as 100 they
    may nest.
    """
    most = _VALUES + len(raw) // _BYTES_A_VALUE if most is None else most
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > most:
        raise ValueError(f"it has more than {most:,} values")
    try:
        value = json.loads(raw.decode("utf-8"), **{**_hooks_for_numbers(raw), **hooks})
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    require_shallow(value)
    return value


def is_readable(text: str, most_bytes: int) -> bool:
    """Whether `parse_json` would take this text as a part of a whole of so many bytes, with room for the rest."""
    values = text.count(",") + text.count("[") + text.count("{")
    return len(text) <= most_bytes * 3 // 4 and values <= _VALUES * 3 // 4 + len(text) // _BYTES_A_VALUE


def require_shallow(value: Any, most: int = _DEPTH) -> None:
    """Raise ValueError for dicts and lists nested deeper than that: whatever goes through them would fail elsewhere."""
    level = [value] if isinstance(value, (dict, list, tuple)) else []
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list, tuple))
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _hooks_for_numbers(raw: bytes) -> dict[str, Any]:
    """Looking at each number takes longer than all the rest: done only where so many digits stand in a row."""
    return {"parse_int": _whole_number} if _TOO_LONG in raw.translate(_DIGITS_ALIKE) else {}


_TOO_LONG = b"0" * (_DIGITS + 1)
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")


def _whole_number(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"it has a number of {len(text):,} digits")
    return int(text)
