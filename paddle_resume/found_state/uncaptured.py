"""What the walker does not save: handles and other libraries' data, which it tells, and what it has to refuse."""

from __future__ import annotations

import csv
import io
import os
import sys
import sysconfig
import types
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Optional

from paddle_resume.found_state.claims import Claimed
from paddle_resume.found_state.kind import DERIVED, REFUSED, TOLD, Kind
from paddle_resume.found_state.known_packages import DATA as DATA_OF
from paddle_resume.found_state.known_packages import HANDLES
from paddle_resume.found_state.known_packages import PROGRAM as PROGRAM_OF
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource

_CLOSED = -1
_TAKEN_AS_USERS: set[str] = set()
_ITERATORS = frozenset(("builtins", "itertools", "numpy", "_csv", "re", "_sre"))
_INSIDE_PADDLE = tuple(
    f"paddle.{part}"
    for part in ["base", "fluid", "jit", "static", "distributed", "pir", "hapi.progressbar", "nn.initializer"]
)


class UncapturedKind(Kind):
    """Objects that are named, or refused, but not looked into; the same object again means that nothing moved."""

    can_move = False

    def __init__(self, standing: str, what: str = "") -> None:
        self.standing = standing
        self.tag = standing
        self._what = what

    def told(self, thing: Any) -> str:
        return self._what or f"a {type(thing).__module__}.{type(thing).__qualname__}"


class ReadFileKind(Kind):
    """A file that is being read, by its position: whoever reads on from it decides what comes next."""

    tag = "file"

    def read(self, thing: Any, claimed: Claimed) -> tuple[list[Any], Hashable]:
        return [], _position(thing)

    def save(self, thing: Any, sink: ArraySink, path: str, claimed: Claimed) -> Any:
        """Raises Problem while something goes through its lines, when Python does not tell the position."""
        position = _position(thing)
        if position is None:
            raise Problem("a file whose lines are being gone through, which does not tell its position")
        return position

    def check(self, saved: Any, source: ArraySource) -> Any:
        if type(saved) is not int or not _CLOSED <= saved < 1 << 200:
            raise Problem(f"a file has no position {str(saved)[:40]}")
        return saved

    def new(self, cls: type, held: Any) -> Any:
        raise Problem("a file is not opened by a record")

    def write(self, thing: Any, labels: Optional[Sequence[Any]], values: list[Any], held: Any) -> None:
        if held == _CLOSED:
            thing.close()
        else:
            thing.seek(held)

    def told(self, thing: Any) -> str:
        return "a file that is read"


HANDLE = UncapturedKind(TOLD)
INSIDE = UncapturedKind(DERIVED, "a part of Paddle")
PROGRAM = UncapturedKind(DERIVED)
RUNNING = UncapturedKind(REFUSED, "a running generator")
ITERATOR = UncapturedKind(REFUSED, "an iterator that is under way")
DATA = UncapturedKind(TOLD)
OPAQUE = UncapturedKind(REFUSED)
READ_FILE = ReadFileKind()


def is_handle(cls: type) -> bool:
    """Whether objects of `cls` are handles on something outside the run."""
    return any(top_level(base) in HANDLES for base in cls.__mro__) or issubclass(cls, io.IOBase)


def is_foreign_data(cls: type) -> bool:
    """Whether objects of `cls` are another library's data."""
    return top_level(cls) in DATA_OF


def is_running(cls: type) -> bool:
    """Whether objects of `cls` are iterators that do not tell where they are."""
    is_loaders = module_of(cls).startswith("paddle.io.dataloader.dataloader_iter") or cls is csv.DictReader
    return is_loaders or (hasattr(cls, "__next__") and top_level(cls) in _ITERATORS)


def is_inside_paddle(cls: type) -> bool:
    """Whether `cls` is one of Paddle's own that users do not derive from or keep state in."""
    return module_of(cls).startswith(_INSIDE_PADDLE)


def may_wrap(cls: type) -> bool:
    """Whether objects of `cls` may stand for an optimizer or a model of somebody's, as those of `fleet` do."""
    return module_of(cls).startswith("paddle.distributed") and cls.__dictoffset__ != 0


def is_of_the_program(cls: type) -> bool:
    """Whether objects of `cls` describe the program, and not where it stands."""
    return (top_level(cls) in PROGRAM_OF and cls is not object) or issubclass(cls, types.ModuleType)


def kind_of_file(thing: Any) -> Kind:
    """A file of Python's that is only read is known by its position; any other is a handle."""
    try:
        is_read = not thing.closed and thing.readable() and not thing.writable() and thing.seekable()
    except (OSError, ValueError):
        return HANDLE
    return READ_FILE if is_read else HANDLE


def kind_of_generator(thing: Any) -> Kind:
    """One that is through holds nothing any more."""
    frame = next((f for f in ("gi_frame", "cr_frame", "ag_frame") if hasattr(thing, f)), "gi_frame")
    return PROGRAM if getattr(thing, frame) is None else RUNNING


def top_level(cls: type) -> str:
    """The package of a class."""
    return module_of(cls).partition(".")[0]


def module_of(cls: type) -> str:
    """The module of a class; an empty text for one that a library made of thin air."""
    found = getattr(cls, "__module__", None)  # Some of Paddle's own in C have none.
    return found if isinstance(found, str) else ""


@cache
def is_users(module: str) -> bool:
    """Whether a module is the user's own code: not Paddle, not this package, not installed, not Python's."""
    top = module.partition(".")[0]
    if top in _TAKEN_AS_USERS:
        return module in sys.modules
    if top in ("paddle", "paddle_resume", "numpy", "builtins") or module not in sys.modules:
        return False
    file = vars(sys.modules[module]).get("__file__")
    if not isinstance(file, str):
        return module == "__main__"
    return not is_installed(file)


def is_taken(module: str) -> bool:
    """Whether a module belongs to a package that counts as the user's own by `take_as_users`, and is no script."""
    return module.partition(".")[0] in _TAKEN_AS_USERS and module != "__main__"


def is_installed(file: str) -> bool:
    """Whether a source file is Python's own, or was installed."""
    paths = sysconfig.get_paths()
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # Not resolved: a link in an environment leads out of it.
    return any(os.path.abspath(file).startswith(folder + os.sep) for folder in installed)  # noqa: PTH100


@cache
def is_another_librarys(module: str) -> bool:
    """Whether a module was installed, and is neither Paddle's nor NumPy's."""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    places = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    is_there = isinstance(file, str) and file.startswith(places)
    return is_there and top not in ("paddle", "paddle_resume", "numpy") and not is_users(module)


def take_as_users(package: str) -> None:
    """From now on the code of this package counts as the user's own, wherever it is installed."""
    _TAKEN_AS_USERS.add(package)
    is_users.cache_clear()
    is_another_librarys.cache_clear()


def _position(thing: Any) -> Optional[int]:
    try:
        return _CLOSED if thing.closed else thing.tell()
    except (OSError, ValueError):
        return None
