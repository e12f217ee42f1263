"""The one door for pickles that others wrote: arrays and plain values by exact name, all else refused.

It is the standard library's unpickler in Python, not the faster one in C: only there can each opcode be left out or
checked, and there a declared length or memo index reserves no memory.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from paddle_resume.errors import CheckpointError
from paddle_resume.storage.regular_files import read_regular
from paddle_resume.storage.safe_constructors import (
    ALLOWED,
    SHOWN,
    PickledArray,
    PickledDtype,
    Refused,
    SafeConstructor,
    checked_key,
)

_TRUST = "Only load it by other means if you trust where it came from."
_Base: Any = pickle._Unpickler
COPIES = 4  # How often the bytes of a file may be copied while its values are made.
# An opcode of one byte may make a list or remember something, of a hundred bytes; a tensor has some fifty opcodes.
_STEPS, _BYTES_A_STEP = 300_000, 32


def counted(dispatch: Mapping[int, Callable[..., None]]) -> dict[int, Callable[..., None]]:
    """The same opcodes, each of which takes one of the reader's steps."""

    def one(load: Callable[..., None]) -> Callable[..., None]:
        def step(self: Any) -> None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Refused("more steps than a file of weights takes")
            load(self)

        return step

    return {code: one(load) for code, load in dispatch.items()}


class RestrictedUnpickler(_Base):
    """Reads one pickle of `size` bytes; its `dispatch` holds only opcodes that are harmless, or checked here.

    A subclass may know further names (`allowed`) and what a persistent id stands for.
    """

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = ALLOWED

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self._left = COPIES * size + 4096
        self.steps_left = _STEPS + size // _BYTES_A_STEP

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}"[: 4 * SHOWN]) from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a persistent id")

    def load_persid(self) -> None:
        if not self.readline().endswith(b"\n"):
            raise EOFError  # A text that begins with P, such as a zip file.
        self.persistent_load(None)

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, SafeConstructor) or not isinstance(args, tuple):
            raise Refused(f"a call of a {type(function).__name__}")
        self._charge(*args)
        self.stack[-1] = function(*args)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (PickledArray, PickledDtype, SafeConstructor)):
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
            target[checked_key(key)] = value

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

    dispatch: ClassVar[dict[int, Callable[..., None]]] = counted(
        {
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
    )


def read_foreign(path: Path) -> Any:
    """The content of a `.pdparams` or `.pdopt` that any version of Paddle wrote, without executing anything.

    Raises CheckpointError naming the file and what in it was refused or damaged.
    """
    try:
        raw = read_regular(path)
    except OSError as error:
        raise CheckpointError(f"Could not read {path}: {error.strerror}.") from error
    return parse_foreign(path, raw)


def parse_foreign(path: Path, raw: bytes, reader: type[RestrictedUnpickler] = RestrictedUnpickler) -> Any:
    """The content of the pickle `raw`, which was read from `path`, as `read_foreign` gives it; raises CheckpointError.

    `reader` may be one that also knows the few further names that this kind of file needs.
    """
    if not raw:
        raise CheckpointError(f"{path} is empty: its writer was probably cut short. Use another file.")
    with explained(path, "no file of Paddle's", _TRUST):
        content = reader(io.BytesIO(raw), len(raw)).load()
        if _numbers(content) > COPIES * len(raw) + 4096:
            raise Refused("more numbers than it has bytes")
        return content


def _numbers(content: Any, depth: int = 2) -> int:
    """The bytes of all arrays as often as they are there: one of many names would be written out that often."""
    if isinstance(content, np.ndarray):
        return content.nbytes
    if not isinstance(content, (dict, tuple, list)) or not depth:
        return 0
    return sum(_numbers(each, depth - 1) for each in (content.values() if isinstance(content, dict) else content))


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
        what = f"{type(error).__name__}: {str(error)[: 4 * SHOWN]}"
        raise CheckpointError(f"{path} is damaged or is {otherwise}: {what}. Use another file.") from error
