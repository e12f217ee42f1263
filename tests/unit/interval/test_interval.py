"""How often to save: the formulas against a simulation of failing runs, and the command."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT

from paddle_resume.errors import ConfigError
from paddle_resume.interval.costs import Costs
from paddle_resume.interval.interval_report import compare_intervals, read_seconds, show_seconds

COMMAND = [sys.executable, str(ROOT / "tools" / "interval.py")]
COSTS = Costs(stall=10.0, mtbf=2000.0, step=1.0, persist=25.0, restart=60.0)


def _simulate(costs: Costs, interval: float, saves: int, seed: int) -> tuple[float, float]:
    """The overhead of one failing run, and the share of it that restarts take; both relative to the useful work.

    No formula is in it. Each life of the run takes a snapshot after every `interval` and stall, and each snapshot is
    durable a little later, unless the exponentially distributed failure comes first. Then it restarts, perhaps several
    times, and goes on behind what was durable.
    """
    draw = random.Random(seed)
    clock = restarting = 0.0
    failure = draw.expovariate(1 / costs.mtbf)
    durable = 0
    while durable < saves:
        snapshot = clock + interval + costs.stall
        while durable < saves and snapshot + costs.persist < failure:
            clock = snapshot + costs.persist
            durable += 1
            snapshot += interval + costs.stall
        if durable < saves:
            clock = failure
            while True:
                failure = clock + draw.expovariate(1 / costs.mtbf)
                spent = min(costs.restart, failure - clock)
                restarting, clock = restarting + spent, clock + spent
                if clock < failure:
                    break
    work = saves * interval
    return clock / work - 1, restarting / work


def _simulated(costs: Costs, interval: float) -> tuple[list[float], list[float]]:
    """Mean overhead and its standard error, and the same of the restarts, over many runs."""
    runs = [_simulate(costs, interval, saves=400, seed=seed) for seed in range(150)]
    return tuple([statistics.mean(v), statistics.stdev(v) / math.sqrt(len(v))] for v in zip(*runs))  # type: ignore[return-value]


@pytest.mark.parametrize("interval", [60.0, 150.0, 500.0])
def test_the_overhead_is_that_of_simulated_runs(interval: float) -> None:
    expected = COSTS.overhead(interval)
    (total, error), (restarts, restart_error) = _simulated(COSTS, interval)
    assert error < 0.02 * total, "the simulation is too coarse to tell"
    # The last save of a run is waited for, which the steady state does not know.
    edge = COSTS.persist / (400 * interval)
    assert abs(total - edge - expected.total) < 4 * error
    assert abs(restarts - expected.restarts) < 4 * restart_error


def test_the_simulation_sees_what_a_late_commit_costs() -> None:
    (total, error), _ = _simulated(COSTS, 60.0)
    assert abs(total - replace(COSTS, persist=0.0).overhead(60.0).total) > 4 * error


@pytest.mark.parametrize("stall", [0.01, 1.0, 10.0, 200.0])
def test_dalys_interval_is_the_best_there_is(stall: float) -> None:
    costs = replace(COSTS, stall=stall, persist=0.0)
    around = [costs.daly * 1.002**i for i in range(-500, 500)]
    best = min(costs.overhead(interval).total for interval in around)
    assert costs.overhead(costs.daly).total <= best * 1.0005
    assert costs.overhead(costs.daly).total <= costs.overhead(costs.young).total * (1 + 1e-9)


def test_the_simulation_too_finds_dalys_interval_better_than_half_and_double_of_it() -> None:
    costs = replace(COSTS, stall=40.0, persist=0.0, restart=0.0)
    totals = [_simulated(costs, costs.daly * factor)[0][0] for factor in (0.5, 1.0, 2.0)]
    assert totals[1] < min(totals[0], totals[2])


def test_the_formulas_give_the_figures_worked_out_by_hand() -> None:
    costs = Costs(stall=2.0, mtbf=100.0, step=1.0)
    assert costs.young == 20.0  # sqrt(2 * 2 * 100)
    # 20 * (1 + sqrt(0.01) / 3 + 0.01 / 9) - 2
    assert costs.daly == pytest.approx(20 * (1 + 0.1 / 3 + 0.01 / 9) - 2, rel=1e-12)
    assert Costs(stall=300.0, mtbf=100.0, step=1.0).daly == 100.0
    # M/tau exp(R/M) (exp((tau + delta)/M) - 1) - 1
    overhead = Costs(stall=2.0, mtbf=100.0, step=1.0, restart=5.0).overhead(20.0)
    assert overhead.total == pytest.approx(5 * math.exp(0.05) * math.expm1(0.22) - 1, rel=1e-12)
    assert overhead.saves == 0.1


def test_a_run_that_would_never_end_is_told_as_such() -> None:
    assert math.isinf(Costs(stall=10.0, mtbf=1e-3, step=1.0).overhead(1.0).total)


def test_an_interval_too_short_for_the_save_before_is_raised() -> None:
    costs = Costs(stall=0.001, mtbf=1000.0, step=0.1, persist=30.0)
    rows = {row.name: row for row in compare_intervals(costs, ["5s", "500steps", "2m"])}
    assert rows["5s"].seconds == rows["Daly"].seconds == 30.0
    assert rows["5s"].note.startswith("raised from 5 s")
    assert (rows["500steps"].seconds, rows["500steps"].steps, rows["500steps"].note) == (50.0, 500, "")
    assert rows["2m"].steps == 1200


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("20s", 20.0), ("3m", 180.0), ("12h", 43200.0), ("1.5d", 129600.0), ("7", 7)]
)
def test_durations_are_read_in_every_unit(text: str, seconds: float) -> None:
    assert read_seconds(text, "--restart") == seconds


@pytest.mark.parametrize("text", ["", "3x", "-1s", "5 steps", "s", "0s"])
def test_a_duration_that_is_none_is_an_error_naming_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match="--mtbf"):
        read_seconds(text, "--mtbf")


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "250 ms"), (41.2, "41.2 s"), (558.6, "9.31 min"), (9e4, "25 h")])
def test_times_are_shown_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


def test_the_command_prints_a_table_json_and_a_picture(tmp_path: Path) -> None:
    options = ["--save-stall", "250ms", "--persist", "20s", "--restart", "3m", "--mtbf", "60d", "--nodes", "100"]
    command = [*COMMAND, *options, "--step-time", "400ms", "--compare", "1h"]
    table = subprocess.run([*command, "--output", "i.png"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "A failure every 14.4 h on 100 nodes" in table.stdout
    assert "-o checkpoint.every_steps=402" in table.stdout
    assert (tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout)
    young, daly, given = found["intervals"]
    assert (young["name"], daly["name"], given["name"]) == ("Young", "Daly", "1h")
    assert daly["steps"] == 402
    assert given["overhead"] > daly["overhead"] == pytest.approx(daly["saves"] + daly["lost"] + daly["restarts"])


def test_a_mistake_on_the_command_line_is_an_error_of_one_paragraph(tmp_path: Path) -> None:
    options = ["--save-stall", "250ms", "--mtbf", "60d", "--step-time", "fast"]
    result = subprocess.run([*COMMAND, *options], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --step-time fast: expected a time with its unit")
