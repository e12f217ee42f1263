"""Saves and restores by one process or several that train together; run in each process.

python -m benchmarks.parallel_saving '{"size": BYTES, "saves": N, "folder": FOLDER}'
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import paddle

from benchmarks.child_process import report
from benchmarks.large_state import State, await_one_checkpoint
from benchmarks.parallel_rounds import PERSIST, RESTORE, STALL
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.parallel.world import World


def time_saving(size: int, saves: int, folder: Path) -> dict[str, list[float]]:
    """Seconds in this process of each save, of writing it, and of restoring it; `size` is that of the state in bytes.

    One save more is made first, whose memory is new. The processes begin each part together.
    """
    world = World.current()
    state = State(size, world)
    seconds: dict[str, list[float]] = {STALL: [], PERSIST: [], RESTORE: []}
    checkpointer = CheckpointEngine(folder, "large", keep=1, world=world)
    with world.together():
        for step in range(saves + 1):
            if world.is_main:
                os.sync()  # Nobody pays for what was left to be written before.
            world.agree()
            begun = time.perf_counter()
            prefix = checkpointer.save(step, state.owners)
            submitted = time.perf_counter()
            checkpointer.wait()
            durable = time.perf_counter()
            if world.is_main:
                await_one_checkpoint(folder)
            world.agree()
            restoring = time.perf_counter()
            checkpointer.restore(state.owners, str(prefix))
            restored = time.perf_counter()
            if step:
                seconds[STALL].append(submitted - begun)
                seconds[PERSIST].append(durable - submitted)
                seconds[RESTORE].append(restored - restoring)
        checkpointer.close()
    return seconds


if __name__ == "__main__":
    paddle.set_device("cpu")
    spec: dict[str, Any] = json.loads(sys.argv[1])
    report(time_saving(spec["size"], spec["saves"], Path(spec["folder"])))
