"""The one door for pickles that others wrote: arrays and plain values by exact name, all else refused.

It is the standard library's unpickler in Python, not the faster one in C: only there can each opcode be left out or
checked, and there a declared length or memo index reserves no memory.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from paddle_resume.errors import CheckpointError

MAX_DIMENSIONS = 32
_SHOWN = 60  # Letters of a file's own text that an error repeats.
_TRUST = "Only load it by other means if you trust where it came from."


class Refused(pickle.UnpicklingError):
    """What a file of weights has no need of; the text names it."""


class Maker:
    """Stand-in for a class or function that pickles of arrays call; unlike those, a pickle cannot alter it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise Refused("a change to what it calls")


class _Array(np.ndarray):
    """An array whose pickled state is checked before it is believed."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is something else")
        _, shape, dtype, fortran, raw = state
        raw = _as_bytes(raw)
        shape = _checked_shape(shape, dtype, raw)
        super().__setstate__((1, shape, dtype.exact, fortran is True or fortran == 1, raw))  # type: ignore[arg-type]


class _Dtype:
    """A pickled dtype: a kind of number and, by its BUILD, the order of its bytes. Nothing else is taken over."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if not isinstance(kind, str):
            # Not shown: the text of a nested value can be longer than any memory.
            raise Refused(f"a dtype made of {type(kind).__name__}")
        if len(kind) > _SHOWN:
            raise Refused(f"dtype {kind[:_SHOWN]!r}...")
        self.exact = np.dtype(kind)
        if self.exact.kind not in "biufc":
            raise Refused(f"dtype {kind!r}")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("a dtype that is no plain number")
        if type(state[1]) is not str or state[1] not in ("<", ">", "|", "="):
            raise Refused("a dtype that is no plain number")
        order: Any = state[1]
        self.exact = self.exact.newbyteorder(order)


def _make_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stand-in for NumPy's `_reconstruct`: an empty array, to be filled by its BUILD."""
    return np.empty(0, np.uint8).view(_Array)


def _make_scalar(dtype: Any, raw: Any) -> Any:
    raw = _as_bytes(raw)
    _checked_shape((1,), dtype, raw)
    return np.frombuffer(raw, dtype.exact)[0]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand-in for `numpy._core.numeric._frombuffer`, which protocol 5 uses."""
    raw = _as_bytes(buffer)
    shape = _checked_shape(shape, dtype, raw)
    return np.frombuffer(raw, dtype.exact).reshape(shape, order="F" if order == "F" else "C")


def _make_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocol 2 writes bytes, and for `bytes()`, its empty ones."""
    if not isinstance(text, str) or encoding != "latin1":
        how = repr(encoding[:_SHOWN]) if isinstance(encoding, str) else type(encoding).__name__
        raise Refused(f"bytes made of {type(text).__name__} with {how}")
    return text.encode("latin1")


def _make_ndarray_type(*_: Any) -> Any:
    raise Refused("a call of numpy.ndarray")


def _make_tuple(items: Any = ()) -> tuple[Any, ...]:
    """Stand-in for `tuple`, as which Paddle writes a tensor outside a state dict: (name, array)."""
    if not isinstance(items, (tuple, list)):
        raise Refused(f"a tuple of {type(items).__name__}")
    return tuple(items)


def _make_dict(items: Any = ()) -> dict[Any, Any]:
    """Stand-in for `OrderedDict`; a plain dict keeps the order and has no attributes to overwrite."""
    made: dict[Any, Any] = {}
    if isinstance(items, dict):
        items = list(items.items())
    if not isinstance(items, (list, tuple)):
        raise Refused(f"a dict of {type(items).__name__}")
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise Refused("a dict of something else than pairs")
        made[_checked_key(item[0])] = item[1]
    return made


def _checked_key(key: Any) -> Any:
    # The hash of a nested tuple may take years.
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise Refused(f"a {type(key).__name__} as a key")
    return key


def _as_bytes(raw: Any) -> bytes:
    if isinstance(raw, str):
        return raw.encode("latin1")  # Python 2 wrote bytes as text.
    if not isinstance(raw, (bytes, bytearray, memoryview, pickle.PickleBuffer)):
        raise Refused("an array whose dtype or bytes are something else")
    return bytes(raw)


def _checked_shape(shape: Any, dtype: Any, raw: bytes) -> tuple[int, ...]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, (tuple, list)) or len(shape) > MAX_DIMENSIONS:
        raise Refused("an array whose dtype or bytes are something else")
    # Of bounded size before they are multiplied or shown.
    if not all(type(extent) is int and -(1 << 62) < extent < 1 << 62 for extent in shape):
        raise Refused("an array whose shape is something else")
    shape = tuple(shape)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.exact.itemsize != len(raw):
        raise Refused(f"an array of shape {shape} with {len(raw)} bytes")
    return shape


# Exact names only: prefix rules have been walked around again and again elsewhere.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): Maker(_make_array),
    ("numpy._core.multiarray", "_reconstruct"): Maker(_make_array),
    ("numpy.core.multiarray", "scalar"): Maker(_make_scalar),
    ("numpy._core.multiarray", "scalar"): Maker(_make_scalar),
    ("numpy.core.numeric", "_frombuffer"): Maker(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): Maker(_from_buffer),
    ("numpy", "ndarray"): Maker(_make_ndarray_type),
    ("numpy", "dtype"): Maker(_Dtype),
    ("collections", "OrderedDict"): Maker(_make_dict),
    ("_codecs", "encode"): Maker(_make_bytes),
    ("builtins", "bytes"): Maker(_make_bytes),
    ("__builtin__", "bytes"): Maker(_make_bytes),
    ("builtins", "tuple"): Maker(_make_tuple),
    ("__builtin__", "tuple"): Maker(_make_tuple),
}


_Base: Any = pickle._Unpickler
COPIES = 4  # How often the bytes of a file may be copied while its values are made.


class RestrictedReader(_Base):
    """Reads one pickle of `size` bytes; its `dispatch` holds only opcodes that are harmless, or checked here.

    A subclass may know further names (`allowed`) and what a persistent id stands for.
    """

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = _ALLOWED

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self._left = COPIES * size + 4096

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}"[: 4 * _SHOWN]) from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a persistent id")

    def load_persid(self) -> None:
        if not self.readline().endswith(b"\n"):
            raise EOFError  # A text that begins with P, such as a zip file.
        self.persistent_load(None)

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, Maker) or not isinstance(args, tuple):
            raise Refused(f"a call of a {type(function).__name__}")
        self._charge(*args)
        self.stack[-1] = function(*args)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (_Array, _Dtype, Maker)):
            raise Refused(f"a change to a {type(target).__name__}")
        if isinstance(state, tuple):
            self._charge(*state)
        target.__setstate__(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        data = self.read(min(length, 1 << 62))
        self.append(bytearray(data))

    def load_instance(self) -> None:
        raise Refused("an instance of a class")

    def load_inst(self) -> None:
        self.find_class(self.readline()[:-1].decode("ascii"), self.readline()[:-1].decode("ascii"))
        self.load_instance()

    def load_extension(self) -> None:
        raise Refused("an entry of the extension registry")

    def load_outside_buffer(self) -> None:
        raise Refused("a buffer outside the file")

    def load_sets(self) -> None:
        raise Refused("a set")

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refused(f"items put into a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            target[_checked_key(key)] = value

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused(f"items put into a {type(target).__name__}")
        target.extend(values)

    def _charge(self, *values: Any) -> None:
        """Count what is about to be copied: a value that is copied again and again could fill any memory."""
        sized = (bytes, bytearray, str, list, tuple, dict)
        self._left -= sum(len(value) for value in values if isinstance(value, sized))
        if self._left < 0:
            raise Refused("more copies of its values than it has bytes")

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **_Base.dispatch,
        pickle.PERSID[0]: load_persid,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.INST[0]: load_inst,
        **dict.fromkeys((pickle.OBJ[0], pickle.NEWOBJ[0], pickle.NEWOBJ_EX[0]), load_instance),
        **dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), load_extension),
        **dict.fromkeys((pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0]), load_outside_buffer),
        **dict.fromkeys((pickle.EMPTY_SET[0], pickle.ADDITEMS[0], pickle.FROZENSET[0]), load_sets),
    }


def read_foreign(path: Path) -> Any:
    """The content of a `.pdparams` or `.pdopt` that any version of Paddle wrote, without executing anything.

    Raises CheckpointError naming the file and what in it was refused or damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    return parse_foreign(path, raw)


def parse_foreign(path: Path, raw: bytes, reader: type[RestrictedReader] = RestrictedReader) -> Any:
    """The content of the pickle `raw`, which was read from `path`, as `read_foreign` gives it; raises CheckpointError.

    `reader` may be one that also knows the few further names that this kind of file needs.
    """
    if not raw:
        raise CheckpointError(f"{path} is empty: its writer was probably cut short. Use another file.")
    with explained(path, "no file of Paddle's", _TRUST):
        return reader(io.BytesIO(raw), len(raw)).load()


@contextlib.contextmanager
def explained(path: Path, otherwise: str, advice: str) -> Iterator[None]:
    """Raise as CheckpointError whatever reading the pickle in `path` ends with.

    `otherwise` is what the file may be if it is not damaged, and `advice` what to do if something was refused.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Refused as error:
        raise CheckpointError(
            f"{path} was not loaded: it asks for {error}, which no file of weights needs. Nothing of it was run. "
            f"{advice}"
        ) from error
    except EOFError as error:
        raise CheckpointError(f"{path} is damaged: it was cut short, or is {otherwise}. Use another file.") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} was not loaded: it is nested too deeply to be a file of weights.") from error
    except Exception as error:
        what = f"{type(error).__name__}: {str(error)[: 4 * _SHOWN]}"
        raise CheckpointError(f"{path} is damaged or is {otherwise}: {what}. Use another file.") from error
