"""How many steps a kill costs: one run of configs/mnist.yaml with saves in memory and one without, killed by turns.

python -m benchmarks.lost_steps [KILLS]

Each life is killed, with all of its processes, at a random moment 2 to 8 seconds after its first step. What is lost is
the last step that it printed less the one that the next life goes on from.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

from benchmarks.throughput import mnist_folder
from paddle_resume.environment import environment_as_given

_KILLS = 12
_CHECKOUT = Path(__file__).resolve().parent.parent
_STEP = re.compile(r"\[train\] epoch: (\d+), step: (\d+)/(\d+)")
_RESUMED = re.compile(r"Resume: .* step (\d+)")


def main(kills: int) -> None:
    """Print the table."""
    draw = random.Random(1)
    lost: dict[str, list[int]] = {"auto": [], "off": []}
    with tempfile.TemporaryDirectory() as folder:
        before: dict[str, Optional[int]] = dict.fromkeys(lost)
        for _ in range(kills + 1):
            seconds = draw.uniform(2, 8)
            for memory in lost:
                resumed, made = _life(Path(folder) / memory, memory, seconds)
                done = before[memory]
                if done is not None:
                    lost[memory].append(done - resumed)
                before[memory] = made
    print("| saves in memory | kills | steps lost: mean | median | at most |\n|---|---:|---:|---:|---:|")
    for memory, found in lost.items():
        mean, median = statistics.mean(found), statistics.median(found)
        print(f"| {memory} | {len(found)} | {mean:.1f} | {median:.0f} | {max(found)} |")


def _life(folder: Path, memory: str, seconds: float) -> tuple[int, int]:
    """The step that this life goes on from, and the last one that it has printed when it is killed."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "paddle_resume", "train", "-c", "mnist", "-o", f"data.root={mnist_folder()}"]
    command += ["-o", "trainer.log_every=1", "-o", "trainer.epochs=99", "-o", f"checkpoint.memory={memory}"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment_as_given(), "PYTHONPATH": str(_CHECKOUT)},
        start_new_session=True,
    )
    assert process.stdout is not None
    resumed = made = 0
    end: Optional[float] = None
    for line in process.stdout:
        if found := _RESUMED.search(line):
            resumed = int(found[1])
        if found := _STEP.search(line):
            epoch, step, steps = map(int, found.groups())
            made = epoch * steps + step
            end = end or time.monotonic() + seconds
        if end is not None and time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    return resumed, made


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _KILLS)
