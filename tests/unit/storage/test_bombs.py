"""Files that are made to hang a reader or to fill its memory: each is refused soon, and with little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from places import PROGRAMS

SECONDS = 5.0
"""As a person waits on a machine that does other things too; alone it is below one."""
ROOM = 64 << 20
"""Besides twice the file, which is there as bytes and as text."""
# They hold nothing that is damaged, only what is odd, or count as if they were not there.
HARMLESS = ("odd ", "fingerprints:", "claim:", "lock:")
DOORS = (
    "resume",
    "list",
    "verify",
    "show",
    "show --json",
    "recover",
    "weights",
    "optimizer",
    "verify a pickle",
    "torch",
    "safetensors",
    "config",
    "idx",
    "plot",
    "small files",
)


def opened(every: int, *doors: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "open_hostile.py", str(every), *doors], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# These tell of what is damaged too, and read no values of tensors.
LOOKS = ("list", "show", "show --json")
# A value that is no array comes as it is, as that of a schedule does; whoever it is for refuses it.
HANDS_ON = ("optimizer",)


@pytest.mark.full
@pytest.mark.parametrize("door", DOORS)
def test_each_is_refused_soon_and_takes_little_memory(door: str) -> None:
    assert badly_met(opened(1, door)) == []


def test_some_at_every_door_are_refused_soon_and_take_little_memory() -> None:
    met = opened(8)
    assert {one["door"] for one in met} == set(DOORS)
    assert badly_met(met) == []


def badly_met(met: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wrong = []
    for one in met:
        may_be_taken = one["name"].startswith(HARMLESS) or one["door"] in (*LOOKS, *HANDS_ON)
        fine = ("refused", "taken") if may_be_taken else ("refused",)
        if one["how"] not in fine or one["seconds"] > SECONDS or one["memory"] > 2 * one["size"] + ROOM:
            wrong.append(one)
    return wrong
