"""Runs the matrix of features and settings, each value with each other one, and writes docs/exactness.md.

    python tools/matrix.py [--seed 0] [--minutes 60] [--most 700] [--page docs/exactness.md]

The table is `TABLE` in tests/helpers/generated/descriptions.py. A run that the package refuses is counted by its
reason. Ends with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import forking
import numpy as np
import paddle
from generated.descriptions import SEVERAL, TABLE, history_of, in_pairs
from generated.history import STEPS, Counts, GeneratedRun

from paddle_resume.testing.life import LifeError

_PAGE = """# What was tried

This page is written by `python tools/matrix.py`; `pytest -m full tests/exact/test_matrix.py` runs the same.

Tiny runs of {steps} steps are put together from the table below, so that among all of them each value comes
together with each other one; how many of them were made stands below. Each is trained once straight, and once more
through interruptions by real signals: killed in the middle of a step, within a save, in an evaluation, between two
epochs or at the start, stopped by SIGTERM or Ctrl-C, and in each third run first trained to step 8 only, and then made
longer. Then everything that both have left is compared: weights, optimizer state, each record with everything that a
resume restores, the best model, and the logs.

| | |
|---|---|
| date | {date} |
| versions | paddle_resume {ours}, Paddle {paddle}, NumPy {numpy}, Python {python}, CPU |
| command | `python tools/matrix.py --seed {seed}`, {made} of {of} runs |
| runs compared | {comparisons} |
| processes | {lives} |
| kills (SIGKILL) | {kills} |
| stops (SIGTERM, SIGINT) | {stops} |
| made longer | {longer} |
| **differences** | **{differences}** |
| refused, or failing untouched | {refused} |
| time | {minutes} minutes |

## The table

| feature or setting | values |
|---|---|
{table}

{several} stand for layers and callbacks of a user's, with state of each kind; `tests/helpers/generated` has them.
Besides, hypothesis makes up runs of up to three of them each:
`GENERATED_RUNS=500 pytest -m full tests/exact/test_generated_runs.py`.

## Refused

Where state cannot be saved, a run is refused before it trains, or at its first save, with the path of what cannot be
saved; where settings contradict each other, with the settings. A loss that becomes NaN ends a run with `on_nan: stop`.
What fails in Paddle itself, before anything is interrupted, is counted here too.

| reason | runs |
|---|---|
{reasons}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--most", type=int)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "exactness.md")
    options = parser.parse_args()
    runs = list(in_pairs(options.seed))
    counts, began, bad, made = Counts(), time.monotonic(), 0, 0
    forking.servers()
    with tempfile.TemporaryDirectory() as folder:
        for number, description in enumerate(runs[: options.most]):
            if time.monotonic() - began > options.minutes * 60:
                break
            made += 1
            run = GeneratedRun(description, history_of(description, number), Path(folder) / str(number), counts)
            try:
                found = run.differences()
            except LifeError as error:
                found = [error.output[-2000:]]
            if found:
                bad += 1
                print(f"run {number}: {description}", *found[:5], sep="\n  ", flush=True)
    forking.close()
    minutes = (time.monotonic() - began) / 60
    print(f"{counts}, {minutes:.1f} minutes")
    options.page.write_text(_page(options.seed, made, len(runs), counts, bad, minutes), encoding="utf-8")
    sys.exit(bool(bad))


def _page(seed: int, made: int, of: int, counts: Counts, bad: int, minutes: float) -> str:
    rows = [f"| {name.replace('_', ' ')} | {', '.join(map(str, values))} |" for name, values in TABLE.items()]
    reasons = [f"| {kind.replace('|', '/')} | {count} |" for kind, count in counts.refusals.most_common()]
    return _PAGE.format(
        steps=STEPS,
        date=datetime.date.today().isoformat(),
        ours=paddle_resume.__version__,
        paddle=paddle.__version__,
        numpy=np.__version__,
        python=platform.python_version(),
        seed=seed,
        made=made,
        of=of,
        comparisons=counts.of["comparisons"],
        lives=counts.of["lives"],
        kills=counts.of["kills"],
        stops=counts.of["stops"],
        longer=counts.of["made longer"],
        differences=bad,
        refused=sum(counts.refusals.values()),
        minutes=round(minutes),
        table="\n".join(rows),
        several=" and ".join(f"`{name}`" for name in SEVERAL),
        reasons="\n".join(reasons),
    )


if __name__ == "__main__":
    main()
