"""Random damage to records and pickles: whatever the bytes, only the documented errors come out."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paddle_resume.checkpoint import record
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.foreign_position import position_from_name
from paddle_resume.checkpoint.foreign_schedule import scheduler_state
from paddle_resume.checkpoint.weights import as_array, named_arrays
from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.framing import FramedFile
from paddle_resume.storage.restricted_pickle import read_foreign

_SUPPRESSED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
SHORT = settings(max_examples=200, deadline=2000, database=None, suppress_health_check=_SUPPRESSED)
LONG = settings(max_examples=30_000, deadline=2000, database=None, suppress_health_check=_SUPPRESSED)


class _Tensors:
    suffix = ".pdparams"

    def state_dict(self) -> dict[str, Any]:
        return {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, np.int64)}

    def set_state_dict(self, state: dict[str, Any]) -> None: ...


class _Plain:
    def state_dict(self) -> dict[str, Any]:
        return {"numpy": np.arange(4), "seed": 7, "text": "ä", "none": None, "rate": 0.1}

    def set_state_dict(self, state: dict[str, Any]) -> None: ...


def _record() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        saver = CheckpointEngine(folder, "run", background=False)
        prefix = saver.save(3, {"model": _Tensors(), "rng": _Plain()}, epoch=0, phase="train")
        saver.close()
        return prefix.with_name(prefix.name + ".pdstates").read_bytes()


def _pickles() -> list[bytes]:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = {"w": array, "b": np.float32(2), "LR_Scheduler": {"last_epoch": 3, "last_lr": 0.1}, "t": ("n", array.T)}
    ours = b"".join(
        bytes(chunk) for chunk in FramedFile({"w": array, "StructuredToParameterName@@": {"w": "x"}}).chunks()
    )
    buffered = io.BytesIO()
    pickle.Pickler(buffered, 5).dump(content)
    return [ours, buffered.getvalue(), *(pickle.dumps(content, protocol) for protocol in range(5))]


RECORD = _record()
PICKLES = _pickles()
_OPCODES = b"".join(
    value for name, value in vars(pickle).items() if name.isupper() and isinstance(value, bytes) and len(value) == 1
)


@st.composite
def mutated(draw: Any, originals: list[bytes]) -> bytes:
    """One of the originals after a few random edits: bytes replaced, cut out, put in, or repeated."""
    raw = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        end = min(len(raw), at + draw(st.sampled_from([0, 1, 1, 1, 2, 4, 8, 40])))
        piece = draw(
            st.one_of(
                st.binary(max_size=9),
                st.sampled_from([bytes([op]) for op in _OPCODES]),
                st.sampled_from(
                    [b"\xff" * 8, b"\x00" * 8, b"\x00\x00\x00\x7f", b"NaN", b"1e999", b"[" * 99, b'"x": {}, ']
                ),
                st.just(bytes(raw[at:end]) * 2),
            )
        )
        raw[at:end] = piece
    return bytes(raw)


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
        st.builds(lambda: {"__ndarray__": ["<f4", [1], "AA"]}),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=8,
)


@st.composite
def lying_records(draw: Any) -> bytes:
    """A record with some fields replaced at any depth, and its digest computed anew: only its content is wrong."""
    body = json.loads(RECORD)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                break
            place = inner
        place[key] = draw(_JSON)
    if not isinstance(body, dict):
        return json.dumps(body).encode()
    body.pop("digest", None)
    try:
        body["digest"] = record._own_digest(body)
    except (TypeError, ValueError):
        body["digest"] = ""
    return json.dumps(body).encode()


def _decode(raw: bytes) -> None:
    try:
        found = record.decode(raw)
    except record.Unreadable as error:
        assert error.reason
        return
    assert isinstance(found.step, int) and all(entry.size >= 0 for entry in found.files.values())


def _read(raw: bytes, folder: Path) -> None:
    path = folder / "x.pdparams"
    path.write_bytes(raw)
    try:
        content = read_foreign(path)
        arrays = named_arrays(path, content)
    except CheckpointError as error:
        assert str(path) in str(error)
        return
    for array in arrays.values():
        assert isinstance(array, np.ndarray) and array.dtype.kind in "biufc" and array.nbytes <= 4 * len(raw) + 4096


@SHORT
@given(raw=mutated([RECORD]))
def test_a_damaged_record_is_unreadable_or_as_it_was(raw: bytes) -> None:
    _decode(raw)


@SHORT
@given(raw=lying_records())
def test_a_record_that_lies_and_has_its_digest_is_unreadable_or_sound(raw: bytes) -> None:
    _decode(raw)


@SHORT
@given(raw=mutated(PICKLES))
def test_a_damaged_pickle_is_refused_or_holds_plain_arrays(raw: bytes, tmp_path: Path) -> None:
    _read(raw, tmp_path)


@SHORT
@given(
    raw=st.lists(st.sampled_from([bytes([op]) for op in _OPCODES] + [b"\x01", b"\x00", b"numpy\ndtype\n"])).map(
        b"".join
    )
)
def test_any_row_of_opcodes_is_refused_or_read(raw: bytes, tmp_path: Path) -> None:
    _read(raw, tmp_path)


@SHORT
@given(rate=st.dictionaries(st.sampled_from(["last_epoch", "last_lr", "LinearWarmup_LR", "x"]), _JSON, max_size=4))
def test_whatever_a_file_says_of_its_schedule_only_numbers_come_into_ours(rate: Any) -> None:
    inner = {"class": "StepDecay", "given": {"gamma": 0.1}, "state": {"last_epoch": 0, "last_lr": 0.1}}
    ours = {"class": "LinearWarmup", "given": {"lr_after": inner}, "state": {"last_epoch": 0, "last_lr": 0.1}}
    state, lines = scheduler_state(ours, rate)
    assert state is not None and all(isinstance(line, Difference) for line in lines)
    for found in (state["state"], state["given"]["lr_after"]["state"]):
        assert found.keys() == inner["state"].keys()  # type: ignore[attr-defined]
        assert all(isinstance(value, (int, float)) for value in found.values())


@SHORT
@given(name=st.text(max_size=30))
def test_any_name_is_read_for_a_number(name: str) -> None:
    found, _ = position_from_name(name)
    assert found.epochs is None or found.epochs >= 0
    assert as_array(name) == name


@pytest.mark.full
@LONG
@given(raw=mutated([RECORD]), lie=lying_records())
def test_many_damaged_records_are_unreadable_or_as_they_were(raw: bytes, lie: bytes) -> None:
    _decode(raw)
    _decode(lie)


@pytest.mark.full
@LONG
@given(raw=mutated(PICKLES))
def test_many_damaged_pickles_are_refused_or_hold_plain_arrays(raw: bytes, tmp_path: Path) -> None:
    _read(raw, tmp_path)
