"""What of a JSON text is refused before it takes long, and what looks alike and is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddle_resume.storage.bounded_json import parse_json

FINE: dict[str, Any] = {
    "a number as long as may be": 10**999,
    "a text of digits": "7" * 5000,
    "a name of digits": {"1" * 5000: 3},
    "numbers beside a text of digits": ["0" * 5000, -12, 3.5, 10**20],
    "as deep as may be": json.loads("[" * 100 + "]" * 100),
    "brackets in texts": ["[" * 500, "{" * 500],
}
REFUSED = {
    "a number too long": (b'{"step": ' + b"9" * 1001 + b"}", "a number of 1,001 digits"),
    "one beside a text of digits": (b'["' + b"1" * 5000 + b'", -' + b"9" * 1001 + b"]", "a number of 1,002 digits"),
    "too deep": (b"[" * 102 + b"]" * 102, "nested too deeply"),
    "far too deep": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "too many": (b"[" + b"0," * 700_000 + b"0]", "more than 587,500 values"),
}


@pytest.mark.parametrize("value", FINE.values(), ids=FINE)
def test_what_is_in_order_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(("raw", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_too_much_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(raw)
