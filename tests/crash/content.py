"""States that are a function of the step, so that what came back can be compared bit for bit with what was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from paddle_resume.checkpoint.reader import Loaded, load
from paddle_resume.checkpoint.unreadable import Unreadable

SUFFIXES = (".pdparams", ".pdopt", ".pdema")
NAME = "run"


class Tensors:
    """Owner of a file; `.pdema` has the same bytes at every step, as a frozen average has."""

    def __init__(self, step: int, suffix: str) -> None:
        self.suffix = suffix
        self.state: dict[str, Any] = {}
        self._seed = [SUFFIXES.index(suffix), 0 if suffix == ".pdema" else step]

    def state_dict(self) -> dict[str, Any]:
        random = np.random.default_rng(self._seed)
        return {
            "weight": random.standard_normal((40, 30)).astype(np.float32),
            "none": np.zeros((0, 2), np.int64),
            "moment": random.standard_normal(700),
            "count": np.array(random.integers(1 << 60), np.int64),
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Plain:
    """Owner of a state in the record."""

    def __init__(self, step: int) -> None:
        self.state: dict[str, Any] = {}
        self._step = step

    def state_dict(self) -> dict[str, Any]:
        random = np.random.default_rng(1000 + self._step)
        return {
            "step": self._step,
            "loss": random.standard_normal(),
            "generator": random.integers(1 << 32, size=50, dtype=np.uint32),
            "history": [0.1 * self._step, None, "größe"],
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def owners(step: int = 0) -> dict[str, Any]:
    """The owners of a run that stands at `step`."""
    return {**{suffix[1:]: Tensors(step, suffix) for suffix in SUFFIXES}, "progress": Plain(step)}


def bits(state: dict[str, Any]) -> dict[str, Any]:
    """The state with every array as its dtype, shape and bytes, so that `==` compares bits."""
    return {
        name: (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def require_state_of(step: int, restored: dict[str, Any]) -> None:
    """Raise AssertionError unless every owner was given exactly what it had at `step`."""
    for name, owner in owners(step).items():
        if bits(restored[name].state) != bits(owner.state_dict()):
            raise AssertionError(f"{name} is not what it was at step {step}")


def loadable(folder: Path) -> dict[str, int]:
    """The steps of the checkpoints in `folder` that load now, by prefix, each compared bit for bit."""
    found = {}
    for path in [*folder.glob("*.pdstates"), *folder.glob(".*.pdstates.tmp")]:
        prefix = folder / path.name.removesuffix(".tmp").removesuffix(".pdstates").lstrip(".")
        try:
            one = load(prefix)
        except Unreadable:
            continue
        require_same(one)
        found[prefix.name] = one.record.step
    return found


def require_same(one: Loaded) -> None:
    """Raise AssertionError unless what was loaded is exactly what was saved at its step."""
    expected = owners(one.record.step)
    for suffix in SUFFIXES:
        assert bits(one.tensors[suffix]) == bits(expected[suffix[1:]].state_dict()), f"{suffix} has other bits"
    assert bits(one.record.owners["progress"]) == bits(expected["progress"].state_dict())


def leftovers(folder: Path) -> list[str]:
    """Hidden files of saves and removals that were cut short."""
    return sorted(p.name for p in folder.glob(".*") if p.name.endswith((".tmp", ".removed")))


def orphans(folder: Path) -> list[str]:
    """Files of checkpoints without a record, which nobody would ever remove."""
    known = {p.name.removesuffix(".pdstates") for p in folder.glob("*.pdstates")}
    return sorted(p.name for s in SUFFIXES for p in folder.glob(f"*{s}") if p.name.removesuffix(s) not in known)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file in `folder` but the locks."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith(".lock")}


def line(**values: Any) -> bytes:
    """A message between the proof and its processes."""
    return json.dumps(values).encode()
