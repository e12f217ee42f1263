"""`prove`: the proof on a user's own config, with kills at random moments of every kind."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from rich.console import Console
from rich.table import Table

from paddle_resume.config import Config, load_config
from paddle_resume.config.shipped import find_config
from paddle_resume.errors import PaddleResumeError
from paddle_resume.testing.forked import ForkServers
from paddle_resume.testing.kill_plan import MOMENTS, Kill
from paddle_resume.testing.proof import Proof, run_and_compare

# Between two saves some steps must lie, so that a kill costs some; and some saves between the kills.
_SAVES_PER_RUN = 7


def prove_config(
    config_path: str,
    overrides: Sequence[str],
    *,
    kills: int,
    steps: Optional[int],
    seed: int,
    as_json: bool = False,
) -> int:
    """Prove exact resume on a config; prints what it does and returns the exit code, 0 or 1.

    With `as_json` the outcome goes to standard output as one object, and all else to standard error. Raises
    PaddleResumeError if the config cannot run at all.
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    overrides = [*overrides, *([f"trainer.max_steps={steps}"] if steps else [])]
    config = load_config(config_path, overrides)
    total, per_epoch = _count_steps(config)
    if not config.checkpoint.every_steps:
        overrides.append(f"checkpoint.every_steps={max(1, total // _SAVES_PER_RUN)}")
    program = ["-m", "paddle_resume", "train", "-c", str(find_config(config_path).resolve())]
    overrides += [
        "run.save_dir={folder}/checkpoint",
        "run.log_dir={folder}/log",
        "run.model_path={folder}/m.pdparams",
    ]
    for override in overrides:
        program += ["-o", override]
    plan = plan_kills(kills, total, random.Random(seed), epochs_end=per_epoch is not None and per_epoch <= total)
    with tempfile.TemporaryDirectory(prefix="paddle_resume_proof_") as folder:
        try:
            with ForkServers() as start:
                proof = run_and_compare(
                    program, Path(folder), plan, working_directory=Path.cwd(), tell=console.print, start=start
                )
        except RuntimeError as error:
            raise PaddleResumeError(f"The config could not be run: {error}") from error
    table = Table("kill", "landed")
    for kill in plan:
        table.add_row(str(kill), "yes" if kill in proof.landed else "no: the run ended before")
    console.print(table)
    if as_json:
        print(json.dumps(_outcome(proof, total), indent=2))
    if proof.holds:
        console.print(
            f"Proved: after {kills} kills, {total} steps end bit for bit as without: weights, optimizer state, every "
            "record, VisualDL scalars and metrics."
        )
        return 0
    console.print(f"NOT proved.\n{proof.explain()}", style="red", markup=False)
    return 1


def _outcome(proof: Proof, steps: int) -> dict[str, Any]:
    """What came of it, as plain values."""
    kills = [{"kill": str(kill), "landed": kill in proof.landed} for kill in proof.kills]
    return {"proved": proof.holds, "steps": steps, "kills": kills, "differences": proof.differences}


def plan_kills(count: int, total: int, draw: random.Random, epochs_end: bool = True) -> list[Kill]:
    """`count` kills of every kind at random, ever later steps of a run of `total` steps.

    Those at the end of an epoch (if any epoch ends) and in an evaluation come last, so that they land.
    """
    early = [moment for moment in MOMENTS if moment not in ("epoch", "evaluate")]
    late = ["epoch", "evaluate"] if epochs_end else ["evaluate"]
    kinds = [early[i % len(early)] for i in range(max(0, count - len(late)))] + late[: max(0, count)]
    after = sorted(draw.randrange(1, max(2, int(total * 0.8))) for _ in kinds)
    plan: list[Kill] = []
    for kind, step in zip(kinds[:count], after):
        if kind in late:
            step = 0 if not plan else max(k.after for k in plan)
        counts = {"save": draw.randrange(1, 12), "orphan": draw.randrange(1, 12), "time": draw.randrange(100, 500)}
        plan.append(Kill(kind, 0 if kind == "start" else step, counts.get(kind, 1)))
    return plan


def _count_steps(config: Config) -> tuple[int, Optional[int]]:
    from paddle_resume.builders.run import count_steps

    return count_steps(config)
