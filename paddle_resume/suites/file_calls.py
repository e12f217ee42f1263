"""Where a wrapped program asks Python to open, move or remove a file: what it does with its own comes here first."""

from __future__ import annotations

import builtins
import functools
import io
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from paddle_resume.found_state.uncaptured import is_users
from paddle_resume.found_state.written_file_kind import OPENER
from paddle_resume.suites.program_files import ProgramFiles
from paddle_resume.suites.written_file import WRITES, plain_open

# What these open for a program is known in other ways, or for themselves alone.
_OTHERS = frozenset({"paddle", "paddle_resume", "visualdl", "logging", "tempfile", "tensorboard", "tensorboardX"})
_MOST_FRAMES = 12
_PATHS = ("path", "src", "dst")
_FROM_OPEN_FOLDERS = ("dir_fd", "src_dir_fd", "dst_dir_fd")


def take_file_calls(files: ProgramFiles) -> None:
    """Have `files` asked by `open`, also by that of `io`, which `pathlib` uses, and by what moves and removes files."""
    process = os.getpid()  # A child that was forked, such as a worker, goes its own way.

    def open_file(file: Any, mode: Any = "r", *args: Any, **options: Any) -> Any:
        is_asked = os.getpid() == process and type(mode) is str and (files.reads or not WRITES.isdisjoint(mode))
        if not is_asked or not _is_programs(file, options):
            return plain_open(file, mode, *args, **options)
        return files.open(file, mode, *args, **options)

    def unless_done(plain: Any, done: Callable[..., bool], paths: int = 1, then: Any = None) -> Any:
        @functools.wraps(plain)
        def call(*args: Any, **options: Any) -> Any:
            named = [options[name] for name in _PATHS if name in options]
            given = [_full(path, options) for path in (*args, *named)[:paths]]
            is_asked = os.getpid() == process and len(given) == paths
            is_asked = is_asked and all(path is not None for path in given)
            if is_asked and done(*given):
                return None
            result = plain(*args, **options)
            if is_asked and then is not None and _is_programs(given[0], options):
                then(*given)
            return result

        return call

    # Classes of Python 3.9 and 3.10, which were made when `pathlib` was imported.
    accessor: Any = getattr(pathlib, "_NormalAccessor", None)
    taken: list[tuple[Any, str, Any]] = [
        (os, "replace", unless_done(os.replace, files.moves, 2)),
        (os, "rename", unless_done(os.rename, files.moves, 2)),
        (os, "remove", unless_done(os.remove, files.removes)),
        (os, "unlink", unless_done(os.unlink, files.removes)),
        (os, "mkdir", unless_done(os.mkdir, files.makes_folder, then=files.made_folder)),
        (io, "open", open_file),
    ]
    for home, name, call in taken:
        if accessor is not None and vars(accessor).get(name) is getattr(home, name):
            setattr(accessor, name, staticmethod(call))
        setattr(home, name, call)
    builtins.open = open_file
    shutil.rmtree = unless_done(shutil.rmtree, files.removes_folder)
    OPENER[0] = files


def _is_programs(file: Any, options: Mapping[str, Any]) -> bool:
    """Whether it is a file that the program opens, be it through a library."""
    if not isinstance(file, (str, os.PathLike)) or not isinstance(os.fspath(file), str):
        return False
    caller = frame = sys._getframe(2)
    for _ in range(_MOST_FRAMES):
        module = str(frame.f_globals.get("__name__", ""))
        if is_users(module):
            return options.get("opener") is None or frame is not caller
        if module.partition(".")[0] in _OTHERS or frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _full(path: Any, options: Mapping[str, Any]) -> Optional[Path]:
    """The whole path; None for what is none, or is named from an open folder."""
    is_plain = isinstance(path, (str, os.PathLike)) and isinstance(os.fspath(path), str)
    if not is_plain or any(options.get(each) is not None for each in _FROM_OPEN_FOLDERS):
        return None
    return Path(path).absolute()
