"""The file of fingerprints gives back what was appended, and no more than that, whatever happened to it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from paddle_resume.storage import fingerprint_file
from paddle_resume.storage.fingerprint_file import Fingerprint, FingerprintFile


def some(count: int, first: int = 0) -> list[Fingerprint]:
    return [Fingerprint(step, 2**64 - 1, 0.1 * step, step * 7, 2**63) for step in range(first, first + count)]


@pytest.fixture
def file(tmp_path: Path) -> FingerprintFile:
    return FingerprintFile(tmp_path / ".run.steps")


def test_what_was_appended_is_read_also_by_another_process_and_a_file_that_is_not_there_is_empty(
    file: FingerprintFile,
) -> None:
    assert file.read() == ([], 0)
    file.append(some(2))
    file.append(some(1, 2))
    assert FingerprintFile(file.path).read() == (some(3), 0)


def test_a_loss_that_is_nan_comes_back_as_it_was(file: FingerprintFile) -> None:
    file.append([Fingerprint(1, 2, math.nan, 3, 4)])
    [found], _ = file.read()
    assert math.isnan(found.loss) and found.packed() == Fingerprint(1, 2, math.nan, 3, 4).packed()


def test_a_file_cut_at_any_byte_keeps_what_is_whole_and_is_appended_to_in_the_right_place(
    file: FingerprintFile,
) -> None:
    file.append(some(3))
    file.close()
    content = file.path.read_bytes()
    for size in range(len(content)):
        file.path.write_bytes(content[:size])
        whole, broken = file.read()
        assert broken == 0 and whole == some(len(whole))
        file.append(some(1, 9))
        file.close()
        assert file.read() == ([*whole, *some(1, 9)], 0)


def test_a_flipped_bit_anywhere_costs_what_it_is_in_and_nothing_else(file: FingerprintFile) -> None:
    file.append(some(3))
    file.close()
    content = file.path.read_bytes()
    for at in range(len(content)):
        file.path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        whole, broken = file.read()
        assert set(whole) < set(some(3)) and broken in (1, 3)
    file.append(some(1, 9))  # What is broken goes when the file is written again.
    assert file.read() == ([*some(2), *some(1, 9)], 0)


def test_rewriting_leaves_these_alone_and_none_leave_no_file(file: FingerprintFile) -> None:
    file.append(some(5))
    file.rewrite(some(2, 3))
    file.append(some(1, 5))
    assert file.read() == (some(3, 3), 0)
    assert [path.name for path in file.path.parent.iterdir()] == [".run.steps"]
    file.rewrite([])
    assert list(file.path.parent.iterdir()) == []


def test_a_disk_on_which_there_is_room_again_takes_what_comes_then(small_disk: Path) -> None:
    full = FingerprintFile(small_disk / ".run.steps")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as taken, pytest.raises(OSError, match="No space left"):
        while True:
            taken.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        full.append(some(1))
    ballast.unlink()
    full.append(some(1, 1))
    assert full.read() == (some(1, 1), 0)
    full.close()


def test_a_disk_that_takes_a_part_is_an_error_and_spoils_nothing(
    file: FingerprintFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.append(some(2))
    with monkeypatch.context() as patch:
        write = os.write
        patch.setattr(fingerprint_file.os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="No space left"):
            file.append(some(1, 2))
    file.append(some(1, 3))
    assert file.read() == ([*some(2), *some(1, 3)], 0)
