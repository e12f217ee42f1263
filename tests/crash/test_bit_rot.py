"""Decay of a checkpoint's files: a flipped bit, a cut, a swapped file is noticed, and never a wrong number loaded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.unreadable import Unreadable
from paddle_resume.errors import CheckpointError

SUFFIXES = (".pdparams", ".pdopt", ".pdstates")
CUTS = 60


class Tensors:
    """Owner of a file of noise, about 20 KiB."""

    def __init__(self, seed: int, suffix: str) -> None:
        self.suffix = suffix
        self.values = {
            name: np.random.default_rng([seed, len(suffix), size]).standard_normal(size).astype(np.float32)
            for name, size in (("conv.weight", 3000), ("conv.bias", 12), ("fc.weight", 2000))
        }

    def state_dict(self) -> dict[str, Any]:
        return self.values

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state


class Plain:
    """Owner of a state of a few KiB in the record."""

    def __init__(self, seed: int) -> None:
        self.state = {"words": np.random.default_rng(seed).integers(0, 2**32, 624, dtype=np.uint32).tolist()}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def owners(seed: int) -> dict[str, Any]:
    return {"model": Tensors(seed, ".pdparams"), "optimizer": Tensors(seed, ".pdopt"), "rng": Plain(seed)}


@pytest.fixture
def prefixes(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two checkpoints of one run, whose files have the same sizes and the same tensors."""
    saver = CheckpointEngine(tmp_path, "run", background=False, keep=9)
    try:
        yield saver.save(1, owners(1)), saver.save(2, owners(2))
    finally:
        saver.close()


def path_of(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def loads(prefix: Path) -> bool:
    """Whether the checkpoint can be loaded; asserts that a loader and a user's --resume say the same."""
    try:
        load(prefix)
        noticed = False
    except Unreadable as error:
        assert error.reason
        noticed = True
    user = CheckpointEngine(prefix.parent / "elsewhere", "run", background=False)
    try:
        if noticed:
            with pytest.raises(CheckpointError, match=f"{prefix.name} "):
                user.restore(owners(0), str(prefix))
        else:
            user.restore(owners(0), str(prefix))
    finally:
        user.close()
    return not noticed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_bit_in_each_kilobyte_is_noticed(suffix: str, prefixes: tuple[Path, Path], capsys: Any) -> None:
    path, draw = path_of(prefixes[0], suffix), random.Random(1)
    good = path.read_bytes()
    missed, tried = [], 0
    for start in range(0, len(good), 1024):
        position, bit = draw.randrange(start, min(start + 1024, len(good))), draw.randrange(8)
        raw = bytearray(good)
        raw[position] ^= 1 << bit
        path.write_bytes(raw)
        tried += 1
        if loads(prefixes[0]):
            missed.append((position, bit))
    path.write_bytes(good)
    with capsys.disabled():
        print(f"\n{suffix}: {tried - len(missed)} of {tried} flipped bits noticed")
    assert not missed and tried > 5
    assert loads(prefixes[0])


@pytest.mark.full
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_flipped_bit_is_noticed(suffix: str, prefixes: tuple[Path, Path], capsys: Any) -> None:
    path = path_of(prefixes[0], suffix)
    raw, missed = bytearray(path.read_bytes()), []
    for position in range(len(raw)):
        for bit in range(8):
            raw[position] ^= 1 << bit
            path.write_bytes(raw)
            try:
                load(prefixes[0])
                missed.append((position, bit))
            except Unreadable:
                pass
            raw[position] ^= 1 << bit
    with capsys.disabled():
        print(f"\n{suffix}: {8 * len(raw) - len(missed)} of {8 * len(raw)} flipped bits noticed")
    assert not missed


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_any_other_length_is_noticed(suffix: str, prefixes: tuple[Path, Path], capsys: Any) -> None:
    path, draw = path_of(prefixes[0], suffix), random.Random(2)
    good = path.read_bytes()
    # The last byte of a record is the end of its last line, which nothing depends on.
    last = len(good) - (2 if suffix == ".pdstates" else 1)
    lengths = {0, 1, 2, 1023, 1024, 4096, last, *(draw.randrange(last) for _ in range(CUTS))}
    missed = []
    for length in sorted(lengths):
        path.write_bytes(good[:length])
        if loads(prefixes[0]):
            missed.append(length)
    for longer in (b"\0", b"x" * 4096, good):
        path.write_bytes(good + longer)
        if loads(prefixes[0]):
            missed.append(len(good + longer))
    path.write_bytes(good)
    with capsys.disabled():
        print(f"\n{suffix}: {len(lengths) + 3 - len(missed)} of {len(lengths) + 3} other lengths noticed")
    assert not missed


def test_a_file_of_another_checkpoint_is_noticed(prefixes: tuple[Path, Path], capsys: Any) -> None:
    one, other = prefixes
    noticed = 0
    for chosen in (SUFFIXES[:1], SUFFIXES[1:2], SUFFIXES[2:], SUFFIXES[:2], SUFFIXES[1:], SUFFIXES[::2]):
        for suffix in chosen:
            swap(path_of(one, suffix), path_of(other, suffix))
        noticed += (not loads(one)) + (not loads(other))
        for suffix in chosen:
            swap(path_of(one, suffix), path_of(other, suffix))
    swap(path_of(one, ".pdparams"), path_of(one, ".pdopt"))
    noticed += not loads(one)
    swap(path_of(one, ".pdparams"), path_of(one, ".pdopt"))
    with capsys.disabled():
        print(f"\n{noticed} of 13 swaps noticed")
    assert noticed == 13
    # All three together under another name: the record still knows its own.
    for suffix in SUFFIXES:
        swap(path_of(one, suffix), path_of(other, suffix))
    assert not loads(one) and not loads(other)


def test_kilobytes_that_changed_places_or_turned_to_zeros_are_noticed(prefixes: tuple[Path, Path]) -> None:
    for suffix in SUFFIXES:
        path = path_of(prefixes[0], suffix)
        good = path.read_bytes()
        for raw in (
            good[1024:2048] + good[:1024] + good[2048:],
            good[:1024] + bytes(1024) + good[2048:],
            good[:-1024] + bytes(1024),
            bytes(len(good)),
        ):
            path.write_bytes(raw)
            assert not loads(prefixes[0])
        path.write_bytes(good)
    assert loads(prefixes[0])


def swap(one: Path, other: Path) -> None:
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)
