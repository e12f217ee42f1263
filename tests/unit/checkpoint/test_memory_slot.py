"""A slot in shared memory: after a kill at any instant it holds a whole save or none, and damage is seen."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paddle_resume.checkpoint.memory_slot import Slot
from paddle_resume.checkpoint.snapshot import Layout


def save(number: int, size: int = 1000) -> tuple[Layout, bytes]:
    """A save of which every byte tells its number."""
    files = {".a": {"one": np.full(size, number % 251, np.uint8), "two": np.full(3, number, np.int64)}}
    return Layout(files), f"save {number}".encode()


def written(slot: Slot, number: int) -> None:
    slot.write(number, *save(number))


def number_of(slot: Slot) -> int:
    """Which save is there, every byte of it; 0 if none is."""
    found = slot.read()
    if found is None:
        return 0
    layout, text = save(found.sequence)
    expected = bytearray(layout.size)
    layout.copy_into(memoryview(expected))
    assert found.text == text and bytes(found.arrays) == expected
    return found.sequence


def test_what_is_written_is_read_by_another_process(tmp_path: Path) -> None:
    written(Slot(tmp_path / "slot"), 7)
    written(Slot(tmp_path / "other"), 8)
    assert (number_of(Slot(tmp_path / "slot")), number_of(Slot(tmp_path / "other"))) == (7, 8)


def test_no_byte_can_be_another_without_notice(tmp_path: Path) -> None:
    path = tmp_path / "slot"
    written(Slot(path), 7)
    whole = path.read_bytes()
    end = whole.rindex(b"save 7") + 6
    seen = 0
    for place in range(end):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        path.chmod(0o600)
        seen += number_of(Slot(path)) == 0
    # But for the unused rest of the header.
    assert seen >= end - 16 > 1000


def test_a_file_cut_short_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "slot"
    written(Slot(path), 7)
    for size in (0, 1, 63, 64, 1000, 1100):
        os.truncate(path, size)
        assert number_of(Slot(path)) == 0


@pytest.mark.parametrize("kills", [40, pytest.param(2000, marks=pytest.mark.full)])
def test_a_writer_killed_at_any_instant_leaves_the_last_save_whole_in_one_of_two(kills: int, tmp_path: Path) -> None:
    draw = random.Random(kills)
    path, began = [tmp_path / "slot0", tmp_path / "slot1"], 0
    between = 0
    for _ in range(kills):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            slots = [Slot(each) for each in path]
            for number in range(began + 1, began + 100_000):
                slots[number % 2].write(number, *save(number, 100_000))
                os.write(theirs, b"x")
            os._exit(0)
        os.close(theirs)
        os.read(ours, 1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = began + 1
        while told := os.read(ours, 1 << 16):
            acknowledged += len(told)
        os.close(ours)
        found = [read_large(Slot(each)) for each in path]
        assert max(found) in (acknowledged, acknowledged + 1)
        between += 0 in found
        began = max(found)
    assert between  # Some kills did strike in the middle of a write.


def read_large(slot: Slot) -> int:
    found = slot.read()
    if found is None:
        return 0
    assert bytes(found.arrays[:100_000]) == bytes([found.sequence % 251]) * 100_000
    return found.sequence


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def second_name(path: Path) -> None:
    path.with_name("elsewhere").hardlink_to(path) if hasattr(path, "hardlink_to") else os.link(
        path, path.with_name("elsewhere")
    )


@pytest.mark.parametrize("change", [link, second_name, lambda path: path.chmod(0o644)])
def test_a_file_that_is_not_this_users_alone_is_not_read(change: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "slot"
    written(Slot(path), 7)
    change(path)
    assert number_of(Slot(path)) == 0


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("untouched")
    (tmp_path / "slot").symlink_to("precious")
    written(Slot(tmp_path / "slot"), 7)
    assert (tmp_path / "precious").read_text() == "untouched" and number_of(Slot(tmp_path / "slot")) == 7


def test_memory_that_is_full_is_an_error_and_not_the_end_of_the_process(small_disk: Path) -> None:
    slot = Slot(small_disk / "slot")
    with pytest.raises(OSError, match="No space left"):
        slot.write(1, *save(1, 4 << 20))
    slot.write(2, *save(2))
    assert number_of(Slot(small_disk / "slot")) == 2
