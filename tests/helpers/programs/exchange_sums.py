"""Adds up a number of each process by the exchange that is named, with processes that may connect late."""

import sys
import time
from pathlib import Path

import paddle

from paddle_resume.parallel.exchange import make_exchange
from paddle_resume.parallel.world import World

if __name__ == "__main__":
    kind, late = sys.argv[1], int(sys.argv[2])
    world = World.current()
    if world.rank == late:  # What delays its system calls is attached from outside.
        Path("waits").touch()
        while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
            time.sleep(0.01)
    world.agree()
    total = make_exchange(kind, world).sum(paddle.to_tensor([2.0**world.rank]))
    print("sum", total if total is None else int(total.item()))
