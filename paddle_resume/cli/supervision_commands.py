"""The commands around a run: keep it running, and find out how often it should save."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
from pathlib import Path
from typing import List, Optional

import typer
from typing_extensions import Annotated

from paddle_resume.cli.options import Json


def run(
    command: Annotated[List[str], typer.Argument(metavar="-- COMMAND...", help="The command line to keep running.")],
    max_restarts: Annotated[int, typer.Option(min=0, help="How often it is started again.")] = 10,
    crash_loop: Annotated[
        int, typer.Option(min=1, help="Give up after so many crashes in a row that do not get past the same step.")
    ] = 3,
    hang_timeout: Annotated[
        Optional[float],
        typer.Option(min=1.0, metavar="SECONDS", help="End and restart it when a rank has been silent for so long."),
    ] = None,
    start_timeout: Annotated[
        Optional[float],
        typer.Option(min=1.0, metavar="SECONDS", help="The same, from the start to the first sign of life of a rank."),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="What it has to save and leave, before SIGKILL.")
    ] = 30.0,
    pause: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Before the first restart; it doubles without progress.")
    ] = 1.0,
    save_dir: Annotated[
        Optional[Path], typer.Option(help="Where it saves; only for programs that give no heartbeat of their own.")
    ] = None,
    max_processes: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="How many processes an elastic run begins with; {processes} in the command is the number."
        ),
    ] = None,
    min_processes: Annotated[
        int, typer.Option(min=1, help="How many it goes on with at least when it has lost some.")
    ] = 1,
) -> None:
    """Keep a command running: start it again when it crashes or hangs, and it continues by itself."""
    from paddle_resume.supervision.process_count import ProcessCount
    from paddle_resume.supervision.supervisor import Policy, Supervisor

    count = ProcessCount(command, min_processes, max_processes) if max_processes is not None else None
    policy = Policy(max_restarts, crash_loop, hang_timeout, start_timeout, grace, pause)
    raise typer.Exit(Supervisor(command, policy, save_dir, count).run())


def interval(
    save_stall: Annotated[str, typer.Option(help="How long a save stops training: 250ms.")],
    mtbf: Annotated[str, typer.Option(help="Mean time between the failures of one node: 60d.")],
    step_time: Annotated[str, typer.Option(help="How long one step takes: 400ms.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes; one that fails stops them all.")] = 1,
    persist: Annotated[str, typer.Option(help="How long after that the checkpoint is durable: 20s.")] = "0s",
    restart: Annotated[str, typer.Option(help="From a failure until training goes on: 3m.")] = "0s",
    compare: Annotated[
        Optional[List[str]], typer.Option(help="An interval to compare with: 30m or 500steps. May be repeated.")
    ] = None,
    json: Json = False,
    output: Annotated[
        Optional[str], typer.Option("--output", help="Draw overhead over interval in this file, .png, .svg or .pdf.")
    ] = None,
) -> None:
    """The time from save to save that costs least, by the formulas of Young and Daly."""
    from paddle_resume.interval.costs import Costs
    from paddle_resume.interval.interval_report import compare_intervals, print_json, print_table, read_seconds

    costs = Costs(
        stall=read_seconds(save_stall, "--save-stall"),
        persist=read_seconds(persist, "--persist"),
        restart=read_seconds(restart, "--restart"),
        mtbf=read_seconds(mtbf, "--mtbf") / nodes,
        step=read_seconds(step_time, "--step-time"),
    )
    rows = compare_intervals(costs, compare or [])
    if output is not None:
        from paddle_resume.interval.overhead_picture import draw_overhead
        from paddle_resume.pictures.figure import check_target, save_figure

        target = check_target(output)
    (print_json if json else print_table)(costs, nodes, rows)
    if output is not None:
        save_figure(draw_overhead(costs, rows), target)
