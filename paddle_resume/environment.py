"""The CPU set-up made before Paddle is imported, and the record of everything around a run that decides its bits."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys

# Before Paddle: version 2.6.2 brings zlib's symbols along, and crashes a zlib that is loaded after it.
import zlib  # noqa: F401
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional

from paddle_resume.differences import Difference, compare_fields
from paddle_resume.errors import ConfigError, MissingPaddleError, PaddleResumeError, UnsupportedSystemError
from paddle_resume.processor import cpu_field, describe_processor, physical_cores
from paddle_resume.thread_advice import import_paddle_without_thread_advice
from paddle_resume.translations import heading, shown

# Each of these gives other bits than its neighbour, so each is part of the recorded environment.
MATH_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "MKL_CBWR")
# Paddle's switches for GPU kernels that give the same bits each time.
REPEATABLE_FLAGS = ("FLAGS_cudnn_deterministic", "FLAGS_embedding_deterministic")
_WORLD_SIZE = "world_size"
_INSTRUCTIONS = "cpu_instructions"
# What records of the first versions do not have: of these nothing is known then.
_ADDED = ("cpu_kind", _INSTRUCTIONS, "cpu_caches")
# Recorded for a reader; they do not decide the bits of a step.
_INFORMATIVE = ("python", "os")
# Which number is in force once the threads are pinned, whatever the variables say.
_PINNED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": None}
# What `prepare_cpu` has set in this process, and its environment did not say.
_prepared: set[str] = set()
_pinned: list[int] = []


def require_supported_system() -> None:
    """Raise UnsupportedSystemError, one sentence that says what to do, on Windows, which lacks what saving needs."""
    if sys.platform == "win32":
        _refuse(
            UnsupportedSystemError(
                "paddle_resume does not run on Windows itself, only in its Linux: run `wsl --install` in PowerShell, "
                "and install and use Paddle and this package in that WSL2, as docs/windows.md shows."
            )
        )


def require_paddle() -> None:
    """Raise MissingPaddleError, one line that says which extra to install, where Paddle is not installed."""
    if importlib.util.find_spec("paddle") is not None:
        return
    _refuse(
        MissingPaddleError(
            "PaddlePaddle is not installed: run `pip install 'paddle_resume[cpu]'` (or `[gpu]` for an NVIDIA GPU)."
        )
    )


def _refuse(error: PaddleResumeError) -> NoReturn:
    """Raise the error, or as a program, whose command line is not there yet, print it in that one's way."""
    program = Path(sys.argv[0])
    # `-m` is there while Python looks for the module to run, which is one of this package then.
    if program.name.startswith("paddle-resume") or program.parent.name == "tools" or program.name == "-m":
        print(f"{heading('error')}: {shown(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    raise error


def prepare_cpu() -> None:
    """Use all physical cores, and the fast math path on AMD, unless the environment already says otherwise.

    Paddle reads these variables once, when it is imported: called after that, this does nothing.
    """
    if "paddle" in sys.modules:
        return
    _prepare("OMP_NUM_THREADS", str(physical_cores()))
    if "OMP_NUM_THREADS" in _prepared:
        import_paddle_without_thread_advice()
    if cpu_field("vendor_id") == "AuthenticAMD":
        # The MKL that Paddle bundles falls back to its slowest kernels on AMD; 5 selects the AVX2 ones.
        _prepare("MKL_DEBUG_CPU_TYPE", "5")


def pin_math_threads() -> None:
    """Have Paddle compute on one thread in this process from here on, whatever the environment says.

    15 of 41 operations tried give other bits on two threads than on one. Raises ConfigError where this Paddle does not
    let it be set, and it is not one already.
    """
    from paddle.base import core

    if not hasattr(core, "set_num_threads"):
        if os.environ.get("OMP_NUM_THREADS") != "1":
            raise ConfigError(
                "parallel.elastic needs one thread of math in each process, which this Paddle does not let be set once "
                "it is imported: start the run with OMP_NUM_THREADS=1."
            )
        return
    core.set_num_threads(1)
    _pinned.append(1)


def environment_as_given() -> dict[str, str]:
    """The environment that this process was started with, for a child that is to make its own CPU set-up."""
    return {name: value for name, value in os.environ.items() if name not in _prepared}


def leave_cpu_as_given() -> None:
    """Take back what `prepare_cpu` has set, for a program that Paddle is to run as it would without this package.

    It has to be called before Paddle is imported.
    """
    for name in _prepared:
        os.environ.pop(name, None)
    _prepared.clear()


def prefer_repeatable_kernels() -> None:
    """On a GPU, let Paddle choose kernels that give the same bits each time; on a CPU they all do.

    A flag that the environment sets stays as it is.
    """
    import paddle

    if paddle.is_compiled_with_cuda() and paddle.device.get_device().startswith("gpu"):
        paddle.set_flags({flag: True for flag in REPEATABLE_FLAGS if flag not in os.environ})


class Environment:
    """Owner of the environment: compared on resume, never restored.

    With `any_world` the number of processes is no part of it; else `other_world` tells what is to be known where it
    has changed.
    """

    def __init__(self, any_world: bool = False, other_world: str = "") -> None:
        self._any_world = any_world
        self._other_world = other_world
        # Paddle has read its variables by now; a later change of os.environ would not be what is in force.
        self._math = {name: os.environ.get(name) for name in MATH_VARIABLES}
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._look()
        return self._state

    def _look(self) -> dict[str, Any]:
        import numpy
        import paddle

        return {
            "paddle": paddle.__version__,
            "numpy": numpy.__version__,
            "device": describe_device(),
            "cuda": paddle.version.cuda(),
            "cudnn": paddle.version.cudnn(),
            **describe_processor(),
            **({} if self._any_world else {_WORLD_SIZE: paddle.distributed.get_world_size()}),
            **self._math,
            **(_PINNED if _pinned else {}),
            **(paddle.get_flags(list(REPEATABLE_FLAGS)) if paddle.is_compiled_with_cuda() else {}),
            "python": platform.python_version(),
            "os": _describe_system(),
        }

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        now = self.state_dict()
        unknown = [key for key in _ADDED if key not in state]
        keys = [key for key in now if key not in (*_INFORMATIVE, _WORLD_SIZE, *unknown)]
        found = compare_fields("environment {}", *_only_other_instructions(state, now), keys=keys)
        return [*compare_fields("environment {}", state, now, keys=[_WORLD_SIZE], hint=self._other_world), *found]

    @staticmethod
    def variables_before(differences: Sequence[Difference]) -> dict[str, Optional[str]]:
        """The variables with which nothing of this would differ; empty unless that holds for all of it."""
        names = {f"environment {name}": name for name in MATH_VARIABLES}
        if any(one.subject not in names for one in differences):
            return {}
        return {names[one.subject]: one.before for one in differences}

    def summary(self) -> str:
        """One line for the start of a run: versions, device, threads, math path."""
        now = self.state_dict()
        path = now["MKL_DEBUG_CPU_TYPE"]
        math = f", MKL_DEBUG_CPU_TYPE={path}" if path else ""
        return (
            f"Paddle {now['paddle']}, NumPy {now['numpy']}, {now['device']}, "
            f"{now['OMP_NUM_THREADS'] or 1} threads{math}"
        )


def describe_device() -> str:
    """The kind of device that Paddle computes on: `cpu`, or the name of the GPU."""
    import paddle

    place = paddle.device.get_device()
    if place.startswith("gpu"):
        return f"gpu ({paddle.device.cuda.get_device_name()})"
    return place


def _describe_system() -> str:
    """What `platform.platform()` says, which starts a program to learn it."""
    system = os.uname()
    library = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    with_library = ("with", library.replace(" ", "")) if library else ()
    return "-".join((system.sysname, system.release, system.machine, *with_library))


def _prepare(name: str, value: str) -> None:
    if name not in os.environ:
        os.environ[name] = value
        _prepared.add(name)


def _only_other_instructions(state: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both, of some forty instruction sets those that only one of them has."""
    before, after = (set(str(one.get(_INSTRUCTIONS, "")).split()) for one in (state, now))
    return (
        {**state, _INSTRUCTIONS: " ".join(sorted(before - after)) or None},
        {**now, _INSTRUCTIONS: " ".join(sorted(after - before)) or None},
    )
