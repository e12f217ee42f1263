"""Files made to hang a reader or to fill its memory, at every door: each is refused soon, and with little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hostile_doors import DOORS
from places import PROGRAMS, ROOT

CONTROL = "in order"
SECONDS = 2.5
"""Of the CPU; below one where nobody else uses its caches."""
ROOM = 64 << 20
"""Besides twice the file, which is there as bytes and as text, and what the door takes for a file that is in order."""
CONTROLS_ROOM = 64 << 20
# They hold nothing that is damaged, only what is odd, or count as if they were not there.
HARMLESS = ("odd ", "fingerprints:", "claim:", "lock:")
# These tell of what is damaged too, and read no values of tensors.
LOOKS = ("list", "show", "show --json", "diff")
# A value that is no array comes as it is, as that of a schedule does; whoever it is for refuses it.
HANDS_ON = ("optimizer", "VisualDL")


def opened(every: int, *doors: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "open_hostile.py", str(every), *doors],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"door"')]


@pytest.mark.full
@pytest.mark.parametrize("door", DOORS)
def test_each_is_refused_soon_and_takes_little_memory(door: str) -> None:
    assert badly_met(opened(1, door)) == []


def test_some_at_every_door_are_refused_soon_and_take_little_memory() -> None:
    met = opened(24)
    assert badly_met(met) == []
    assert len({one["door"] for one in met}) > len(DOORS) // 2


def badly_met(met: list[dict[str, Any]]) -> list[dict[str, Any]]:
    controls = {one["door"]: one for one in met if one["name"] == CONTROL}
    usual = {"memory": CONTROLS_ROOM, "seconds": 2.0}
    wrong = [one for one in controls.values() if one["how"] != "taken" and one["door"] != "merge"]
    for one in met:
        if one["name"] == CONTROL:
            continue
        control, odd = controls.get(one["door"], usual), one["name"].startswith(HARMLESS)
        fine = ("taken",) if DOORS[one["door"]].goes_on else ("refused",)
        if odd or one["door"] in (*LOOKS, *HANDS_ON, "train with a log"):
            fine = ("refused", "taken")
        much = one["memory"] - control["memory"] > 2 * one["size"] + ROOM
        if one["how"] not in fine or one["seconds"] - control["seconds"] > SECONDS or much:
            wrong.append(one)
    return wrong
