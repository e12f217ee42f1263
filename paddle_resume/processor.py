"""The processor of this machine: how many cores it has, and what of it decides which kernels compute."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Optional

_CORES = Path("/sys/devices/system/cpu")
_INFORMATION = Path("/proc/cpuinfo")
# What a processor is beside its name, which a virtual machine may hide: on x86, then on Arm.
_KIND = {"cpu family": "family", "model": "model", "stepping": "stepping"}
_ARM_KIND = {"CPU implementer": "implementer", "CPU variant": "variant", "CPU part": "part", "CPU revision": "revision"}
# Of the flags those that add, multiply and convert numbers: the others come and go with the kernel of the system.
_COMPUTES = re.compile(r"sse|ssse|pni|avx|amx|fma|f16c|asimd|sve|sme|fphp|bf16|i8mm|neon|vfp")


def describe_processor() -> dict[str, str]:
    """Name, kind, instructions and caches, by which math libraries choose their kernels and the size of their blocks.

    Two processors of which one of these differs may sum in another order. Empty is what the system does not tell.
    """
    kind = [cpu_field("vendor_id")]
    for key, word in {**_KIND, **_ARM_KIND}.items():
        if value := cpu_field(key):
            kind.append(f"{word} {value}")
    flags = (cpu_field("flags") or cpu_field("Features")).split()
    return {
        "cpu": cpu_field("model name") or platform.processor(),
        "cpu_kind": " ".join(kind).strip(),
        "cpu_instructions": " ".join(sorted(flag for flag in flags if _COMPUTES.match(flag))),
        "cpu_caches": " ".join(_caches()),
    }


def physical_cores() -> int:
    """How many physical cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_all_cores() or usable, usable))


def cpu_field(name: str) -> str:
    """What Linux says of the first CPU under `name`, such as `vendor_id`; empty if it says nothing."""
    return _first_cpu().get(name, "")


@cache
def _first_cpu() -> dict[str, str]:
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), _INFORMATION.open(encoding="utf-8") as info:  # Only Linux has it.
        for line in info:
            key, colon, value = line.partition(":")
            if not colon:
                break  # An empty line ends each CPU; there may be hundreds.
            found[key.strip()] = value.strip()
    return found


def _all_cores() -> Optional[int]:
    """As psutil counts them, which takes longer to import than all that is needed to list checkpoints."""
    with contextlib.suppress(OSError):
        places = _CORES.glob("cpu[0-9]*/topology/core_cpus_list")
        if cores := len({place.read_bytes().strip() for place in places}):
            return cores
    import psutil

    return psutil.cpu_count(logical=False)


def _caches() -> list[str]:
    """Those that hold data, such as `L2 1024K`, the smallest first."""
    found = []
    for cache_of_core in sorted((_CORES / "cpu0" / "cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((cache_of_core / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found.append(f"L{level} {size}")
    return found
