"""`doctor`: what this machine offers a run, each part looked at or measured, with what to do where it falls short."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import psutil

from paddle_resume._version import __version__
from paddle_resume.checkpoint.memory_place import all_places
from paddle_resume.environment import describe_device
from paddle_resume.processor import cpu_field, describe_processor, physical_cores
from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.toolbox.disk_checks import examine_folder
from paddle_resume.toolbox.doctor_check import OK, PROBLEM, WARNING, Check

_LITTLE_MEMORY = 2 << 30
_LITTLE_SHARED_MEMORY = 256 << 20
_SIDE = 1024  # of the matrices whose product is timed


def examine(folder: Path) -> Iterator[Check]:
    """Every check, one after the other; `folder` is where checkpoints are to lie. Imports Paddle."""
    checks: dict[str, Callable[[], Check]] = {
        "Python": _python,
        "Paddle": _paddle,
        "device": _device,
        "threads": _threads,
        "math": _math,
        "memory": _memory,
        "shared memory": _shared_memory,
        "data": _data,
        "VisualDL": _visualdl,
        "Matplotlib": _matplotlib,
    }
    for name, check in checks.items():
        yield _guarded(name, check)
    yield from examine_folder(folder)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # Whatever breaks here would break a run: it is an answer, and the others still count.
        return Check(name, PROBLEM, f"{type(error).__name__}: {error}", "Look at how it was installed.")


def _python() -> Check:
    return Check("Python", OK, f"{platform.python_version()}, paddle_resume {__version__}, {platform.platform()}")


def _paddle() -> Check:
    import numpy
    import paddle

    text = f"{paddle.__version__}, NumPy {numpy.__version__}"
    parts = [int(part) if part.isdecimal() else 0 for part in paddle.__version__.split(".")[:3]]
    if parts < [3] and parts != [0, 0, 0] and int(numpy.__version__.split(".")[0]) >= 2:
        return Check("Paddle", PROBLEM, text, "Paddle 2.6 needs NumPy 1: pip install 'numpy<2'.")
    if [0, 0, 0] != parts < [2, 6, 2]:
        return Check("Paddle", WARNING, text, "Tested are 2.6.2 and 3.x: pip install -U paddlepaddle.")
    return Check("Paddle", OK, text)


def _device() -> Check:
    import paddle

    if paddle.is_compiled_with_cuda():
        count = paddle.device.cuda.device_count()
        if count:
            return Check("device", OK, f"{describe_device()}, {count} of them, CUDA {paddle.version.cuda()}")
        return Check("device", WARNING, "cpu: this Paddle is for GPUs, and finds none", "Look at nvidia-smi.")
    if Path("/dev/nvidia0").exists():
        advice = "Install a GPU build of Paddle, as its installation page says."
        return Check("device", WARNING, "cpu: there is a GPU, and this Paddle is for CPUs only", advice)
    described = describe_processor()
    names = ", ".join(filter(None, (described["cpu"], described["cpu_kind"])))
    return Check("device", OK, f"cpu ({names})")


def _threads() -> Check:
    threads, cores = os.environ.get("OMP_NUM_THREADS", "1"), physical_cores()
    text = f"{threads} of {cores} physical cores (OMP_NUM_THREADS)"
    if threads != str(cores):
        advice = f"For speed: unset OMP_NUM_THREADS, or set it to {cores}. A run that began goes on only with its own."
        return Check("threads", WARNING, text, advice)
    return Check("threads", OK, text)


def _math() -> Check:
    import paddle

    path = os.environ.get("MKL_DEBUG_CPU_TYPE")
    text = f"a {_SIDE} x {_SIDE} float32 product takes {_time_product(paddle) * 1e3:.1f} ms"
    if cpu_field("vendor_id") == "AuthenticAMD" and not paddle.is_compiled_with_cuda() and path != "5":
        advice = "For speed: unset MKL_DEBUG_CPU_TYPE. A run that began goes on only with its own setting."
        return Check("math", WARNING, f"{text}, MKL's slow path on AMD", advice)
    return Check("math", OK, f"{text}{f', MKL_DEBUG_CPU_TYPE={path}' if path else ''}")


def _time_product(paddle: Any) -> float:
    """The shortest of a few, in seconds: what else runs on the machine only ever adds."""
    matrix = paddle.ones([_SIDE, _SIDE], dtype="float32")
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        paddle.matmul(matrix, matrix).numpy()
        times.append(time.perf_counter() - begin)
    return min(times)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} of {format_bytes(memory.total)} free"
    if memory.available < _LITTLE_MEMORY:
        advice = "A save needs a copy of the state in memory: end other programs, or take a smaller batch."
        return Check("memory", WARNING, text, advice)
    return Check("memory", OK, text)


def _shared_memory() -> Check:
    if not hasattr(os, "memfd_create"):
        return Check("shared memory", PROBLEM, f"{sys.platform} has no memfd_create", "Use Linux.")
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("shared memory", WARNING, "no /dev/shm", "Keep data.num_workers at 0.")
    size = psutil.disk_usage(str(folder)).free
    if size < _LITTLE_SHARED_MEMORY:
        advice = "Data workers need it: in Docker give --shm-size=1g, or keep data.num_workers at 0."
        return Check("shared memory", WARNING, f"{format_bytes(size)} free in /dev/shm", advice)
    kept = list(all_places())
    held = (
        f"; {len(kept)} runs keep checkpoints there, {format_bytes(sum(place.bytes for place in kept))}" if kept else ""
    )
    return Check("shared memory", OK, f"{format_bytes(size)} free in /dev/shm{held}")


def _data() -> Check:
    from paddle_resume.data.mnist import DATA_VARIABLE, found_locally

    folder = found_locally()
    if folder is None:
        advice = f"The first run downloads it; without a network put the four files into ${DATA_VARIABLE}/mnist."
        return Check("data", WARNING, "MNIST is not on this machine", advice)
    return Check("data", OK, f"MNIST in {folder}")


def _visualdl() -> Check:
    import visualdl

    from paddle_resume.loggers import VisualDLLogger, read_scalars

    with tempfile.TemporaryDirectory() as folder:
        logger = VisualDLLogger(folder, "doctor")
        logger.log_scalars({"doctor": 0.5}, 1)
        logger.close()
        found = read_scalars(Path(folder) / "vdlrecords.doctor.log")
    if [record[:2] for record in found.get("doctor", [])] != [(1, 0.5)]:
        return Check("VisualDL", PROBLEM, f"a record came back as {found}", "pip install -U visualdl")
    return Check("VisualDL", OK, f"{visualdl.__version__}: a record was written and read back")


def _matplotlib() -> Check:
    try:
        import matplotlib
    except ImportError:
        return Check("Matplotlib", OK, "not installed; only plot, plot-lr and wrong need it")
    return Check("Matplotlib", OK, matplotlib.__version__)
