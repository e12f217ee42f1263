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


def opened(*doors: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "open_hostile.py", *doors], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


QUICK = ("list", "small files")
# These tell of what is damaged too, and read no values of tensors.
LOOKS = ("list", "show", "show --json")


@pytest.mark.parametrize(
    "door", [each if each in QUICK else pytest.param(each, marks=pytest.mark.full) for each in DOORS]
)
def test_each_is_refused_soon_and_takes_little_memory(door: str) -> None:
    wrong = []
    for one in opened(door):
        fine = ("refused", "taken") if one["name"].startswith(HARMLESS) or door in LOOKS else ("refused",)
        if one["how"] not in fine or one["seconds"] > SECONDS or one["memory"] > 2 * one["size"] + ROOM:
            wrong.append(one)
    assert wrong == []
