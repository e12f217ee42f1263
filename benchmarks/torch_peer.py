"""What PyTorch takes to save a state of the same size; run in a process of its own, and only where torch is installed.

python -m benchmarks.torch_peer '{"size": BYTES, "rounds": N, "folder": FOLDER}'
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.child_process import report

SAVE, ASYNC_SAVE = "torch.save", "torch async_save"
_TENSORS = 12


def is_available() -> bool:
    """Whether torch is installed here (the extra `benchmark`)."""
    return importlib.util.find_spec("torch") is not None


def seconds(size: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds for which each way holds up the caller, a value a round; saved are twelve tensors of `size` bytes."""
    import torch
    from torch import distributed
    from torch.distributed import checkpoint

    # One process stands for the group without which its distributed checkpoints do not work.
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
    state = {f"weight{number}": torch.rand(size // 4 // _TENSORS) for number in range(_TENSORS)}
    found: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        target = folder / f"async{number}"
        os.sync()
        begun = time.perf_counter()
        pending: Any = checkpoint.async_save(state, checkpoint_id=str(target))
        held_up = time.perf_counter() - begun
        pending.result()
        os.sync()
        begun = time.perf_counter()
        torch.save(state, folder / "state.pt")
        saved = time.perf_counter() - begun
        shutil.rmtree(target)
        (folder / "state.pt").unlink()
        if number:  # The first is slow for both: memory is new.
            found[ASYNC_SAVE].append(held_up)
            found[SAVE].append(saved)
    distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    spec: dict[str, Any] = json.loads(sys.argv[1])
    report({"seconds": seconds(spec["size"], spec["rounds"], Path(spec["folder"]))})
