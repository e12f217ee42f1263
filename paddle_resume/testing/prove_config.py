"""`prove`: the proof on a user's own config, with interruptions at random moments of every kind."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from rich.table import Table

from paddle_resume.config import Config
from paddle_resume.testing.config_program import ConfigProgram, lives_of
from paddle_resume.testing.kill_plan import KILL, Kill
from paddle_resume.testing.lives_bar import lives_bar
from paddle_resume.testing.proof import Proof, run_and_compare
from paddle_resume.testing.random_kills import RunShape, plan_kills
from paddle_resume.translations.console import Console

# Between two saves some steps must lie, so that a kill costs some; and some saves between the kills.
_SAVES_PER_RUN = 7
# More than any run has: a stop saves one checkpoint more, for which no other is to be pruned.
_KEEP_ALL = 1_000_000


def prove_config(
    config_path: str,
    overrides: Sequence[str],
    *,
    kills: int,
    steps: Optional[int],
    seed: int,
    stops: bool = False,
    processes: Optional[int] = None,
    as_json: bool = False,
) -> int:
    """Prove exact resume on a config; prints what it does and returns the exit code, 0 or 1.

    With `stops` SIGTERM and SIGINT interrupt it too. `processes` train together, by default as many as the config's
    mesh has, or one. With `as_json` the outcome goes to standard output as one object, and all else to standard
    error. Raises PaddleResumeError if the config cannot run at all.
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    program = ConfigProgram(config_path, overrides, steps)
    count = program.processes(processes)
    run = _shape(program.config, count)
    if not program.config.checkpoint.every_steps:
        program.set("checkpoint.every_steps", max(1, run.steps // _SAVES_PER_RUN))
    if stops:
        program.set("checkpoint.keep", _KEEP_ALL)
    plan = plan_kills(kills, run, random.Random(seed), stops=stops)
    with lives_of(program) as (folder, start), lives_bar(console, len(plan) + 2) as tell:
        proof = run_and_compare(
            program.arguments,
            folder,
            plan,
            processes=count,
            working_directory=Path.cwd(),
            memory=count == 1,
            tell=tell,
            start=start,
        )
    console.print(_table(proof, stops))
    if as_json:
        print(json.dumps(_outcome(proof, run), indent=2))
    if proof.holds:
        console.print(
            f"Proved: after {_counted(proof, stops)}, {run.steps} steps{_by(count)} end bit for bit as without: "
            "weights, optimizer state, every record, VisualDL scalars and metrics."
        )
        return 0
    console.print(f"NOT proved.\n{proof.explain()}", style="red", markup=False)
    return 1


def _shape(config: Config, processes: int) -> RunShape:
    from paddle_resume.builders.data import build_data
    from paddle_resume.builders.run import count_steps

    data = build_data(config)
    steps, per_epoch = count_steps(config, data)
    return RunShape(
        steps,
        epochs_end=per_epoch is not None and per_epoch <= steps,
        last_inner_end=(steps - 1) // per_epoch * per_epoch if per_epoch else 0,
        evaluates=data.valid is not None or data.test is not None,
        background=config.checkpoint.background,
        processes=processes,
    )


def _table(proof: Proof, stops: bool) -> Table:
    several = bool(proof.endings) and len(proof.endings[0].codes) > 1
    table = Table("kill", *(["signal"] if stops else []), *(["process", "all ended with"] if several else []), "landed")
    for i, kill in enumerate(proof.kills):
        landed = i < len(proof.landed)
        row = [str(kill), *([kill.signal] if stops else [])]
        if several:
            row.append("all" if kill.rank is None else f"rank {kill.rank}")
            row.append(", ".join(map(str, proof.endings[i].codes)) if landed else "")
        table.add_row(*row, "yes" if landed else "no: the run ended before")
    return table


def _counted(proof: Proof, stops: bool) -> str:
    if not stops:
        return f"{len(proof.landed)} kills"
    counts = ", ".join(f"{number} by {signal}" for signal, number in sorted(proof.signals.items()))
    return f"{len(proof.landed)} interruptions ({counts})"


def _by(processes: int) -> str:
    return f" of {processes} processes" if processes > 1 else ""


def _outcome(proof: Proof, run: RunShape) -> dict[str, Any]:
    """What came of it, as plain values."""
    kills = [_plain(kill, i < len(proof.landed), run) for i, kill in enumerate(proof.kills)]
    outcome = {"proved": proof.holds, "steps": run.steps, "kills": kills, "differences": proof.differences}
    return {**outcome, "signals": {KILL: 0, **proof.signals}, "processes": run.processes}


def _plain(kill: Kill, landed: bool, run: RunShape) -> dict[str, Any]:
    which = {} if run.processes == 1 else {"process": "all" if kill.rank is None else kill.rank}
    return {"kill": str(kill), "signal": kill.signal, **which, "landed": landed}
