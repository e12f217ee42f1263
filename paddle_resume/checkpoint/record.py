"""The commit record (`.pdstates`): JSON that a person can read, digested as a whole, checked before it is believed."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Annotated

from paddle_resume.checkpoint.unreadable import Damaged, Foreign, NoRecord, Unreadable
from paddle_resume.errors import StateError
from paddle_resume.storage.bounded_json import parse_json, require_shallow
from paddle_resume.storage.framing import digest
from paddle_resume.storage.regular_files import read_regular

FORMAT = 1
SUFFIX = ".pdstates"
FILE_SUFFIX = r"^(\.[A-Za-z0-9_]+){1,2}$"
# A record is small: random states, counters, the config, one line a tensor. More is no record of ours.
MAX_BYTES = 1 << 26
_SMALL, _BEGINNING = 1 << 20, re.compile(rb'\{\s*"format":\s*[0-9]{1,9}\s*,')
_ARRAY = "__ndarray__"
_LONGEST_KEY = 1000
# What lies between the tensors is read as a whole: their names, and the plain values beside them.
_FRAMING_OF_FILE, _FRAMING_OF_TENSOR = 1 << 24, 1 << 12

_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_Line = Annotated[str, Field(max_length=1000)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TensorEntry(_Strict):
    """Where one tensor lies in its file: `length` bytes at `offset`, C order, little endian."""

    name: str
    offset: _Count
    length: _Count
    dtype: str = Field(pattern=r"^[<|][biufc][0-9]{1,2}$")
    shape: list[_Count] = Field(max_length=32)
    digest: _Digest

    @model_validator(mode="after")
    def _bytes_match_shape(self) -> TensorEntry:
        expected = largest = np.dtype(self.dtype).itemsize
        for extent in self.shape:
            expected *= extent
            largest *= max(extent, 1)  # NumPy counts so also where there is nothing.
        if expected != self.length:
            raise ValueError(f"{self.name}: shape {self.shape} of {self.dtype} is not {self.length} bytes")
        if largest >= 1 << 62:
            raise ValueError(f"{self.name}: shape {self.shape} is larger than any memory")
        return self


class FileEntry(_Strict):
    """One sibling file: its size, the digest of the framing, and its tensors in file order."""

    size: _Count
    framing: _Digest
    tensors: list[TensorEntry]

    @model_validator(mode="after")
    def _tensors_lie_apart_within_the_file(self) -> FileEntry:
        end = 0
        for tensor in self.tensors:
            if tensor.offset < end:
                raise ValueError(f"{tensor.name}: its bytes overlap with the tensor before it")
            end = tensor.offset + tensor.length
        if end > self.size:
            raise ValueError(f"the last tensor ends at byte {end} of a file of {self.size} bytes")
        framing = self.size - sum(tensor.length for tensor in self.tensors)
        if framing > _FRAMING_OF_FILE + _FRAMING_OF_TENSOR * len(self.tensors):
            raise ValueError(f"{framing} of its bytes belong to no tensor")
        return self


class Record(_Strict):
    """The content of a commit record."""

    format: int
    package: _Line
    name: _Line
    sequence: _Count
    saved_at: _Line
    step: _Count
    epoch: Optional[_Count] = None
    phase: Optional[_Line] = None
    exact: bool
    files: dict[Annotated[str, Field(pattern=FILE_SUFFIX)], FileEntry]
    owners: dict[str, Any]
    lineage: list[dict[str, Any]]


def encode(record: Record) -> bytes:
    """The bytes of the record file: the record with its own digest, laid out to be read by people."""
    body = json.loads(json.dumps(record.model_dump(), default=_pack, allow_nan=True))
    body["digest"] = _own_digest(body)
    return (_layout(body) + "\n").encode()


def decode(raw: bytes) -> Record:
    """The record in `raw`; raises Unreadable saying what is wrong with it."""
    if len(raw) > MAX_BYTES:
        raise Foreign(f"it has {len(raw)} bytes, more than any record")
    if not raw:
        raise Damaged("it is empty")
    if len(raw) > _SMALL and not _BEGINNING.match(raw):
        raise Foreign("it does not begin as a commit record of paddle_resume does")
    try:
        body = parse_json(raw)
    except json.JSONDecodeError as error:
        raise Damaged("it is no JSON, or was cut short") from error
    except ValueError as error:
        raise Damaged(f"it is no JSON of a record: {error}") from error
    if not isinstance(body, dict) or "format" not in body:
        raise Foreign("it is no commit record of paddle_resume")
    if body["format"] != FORMAT:
        raise Foreign(f"it has format {str(body['format'])[:40]}; this version reads format {FORMAT}")
    files = body.get("files")
    if any(len(key) > _LONGEST_KEY for key in (*body, *(files if isinstance(files, dict) else ()))):
        raise Damaged("it is inconsistent: an entry has a name longer than any")  # Errors would repeat it.
    if body.pop("digest", None) != _own_digest(body):
        raise Damaged("its digest does not match: it was altered or damaged")
    try:
        return Record(**{**body, "owners": _unpack(body["owners"])})
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"it is inconsistent: {_first_line(error)}") from error


def read(path: Path) -> Record:
    """The record at `path`; raises Unreadable."""
    try:
        if path.is_symlink() or not path.is_file():
            raise NoRecord() if not path.exists() else Foreign("it is no regular file")
        if path.stat().st_size > MAX_BYTES:
            raise Foreign("it is larger than any record")
        return decode(read_regular(path, MAX_BYTES))
    except OSError as error:
        raise Unreadable(f"it could not be read: {error.strerror}") from error
    except Unreadable as error:
        problem = error
    # Whoever keeps it while looking at other records would keep all that this one held, by its frames.
    problem.__cause__ = problem.__context__ = None
    raise problem.with_traceback(None)


def encode_state(owner: str, state: Any) -> str:
    """`state` as JSON; raises StateError naming the owner and what cannot be kept."""
    key, text = _encoded.get(owner, (b"", ""))
    seen = _as_bytes(state)
    if seen and seen == key:
        return text
    try:
        _require_text_keys(state)
        require_shallow(state)
        text = json.dumps(state, default=_pack, allow_nan=True)
        if seen:
            _encoded[owner] = seen, text
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(
            f"The state of {owner!r} cannot be saved: {error}. state_dict() may hold dicts with strings for keys, "
            "lists, numbers, strings, None and NumPy arrays."
        ) from error


def decode_state(text: str) -> Any:
    """The state that `encode_state` gave the text of."""
    return json.loads(text, object_hook=_unpack_one)


def _as_bytes(state: Any) -> bytes:
    """Other bytes for each other state, types included, several times faster than JSON; none for what has no such."""
    try:
        found = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return b""
    return found if len(found) <= _KEPT_BYTES else b""


_encoded: dict[str, tuple[bytes, str]] = {}
"""By owner its last state and the text of it: most of them are in the next save what they were in this one."""
_KEPT_BYTES = 1 << 16


def _own_digest(body: Mapping[str, Any]) -> str:
    return digest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _require_text_keys(value: Any) -> None:
    # JSON would turn the key 1 into "1" without a word, and the owner would not find it again.
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} of a dict in it is no string")
            _require_text_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_text_keys(item)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: [value.dtype.str, list(value.shape), raw]}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} in it has no plain form")


def _unpack_one(value: dict[str, Any]) -> Any:
    if set(value) != {_ARRAY}:
        return value
    dtype, shape, raw = value[_ARRAY]
    if not re.fullmatch(r"[<|>=][biufc][0-9]{1,2}", dtype):
        raise ValueError(f"array of dtype {dtype!r}")
    return np.frombuffer(base64.b64decode(raw), np.dtype(dtype)).reshape(shape).copy()


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        return _unpack_one({key: _unpack(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value


def _layout(value: Any, depth: int = 0) -> str:
    """JSON with the outer levels indented, and everything deeper on one line each."""
    if isinstance(value, dict) and value and depth < 3:
        pad = "  " * (depth + 1)
        items = [f"{pad}{json.dumps(k)}: {_layout(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth < 5:
        pad = "  " * (depth + 1)
        return "[\n" + ",\n".join(pad + json.dumps(v) for v in value) + "\n" + "  " * depth + "]"
    return json.dumps(value)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]
