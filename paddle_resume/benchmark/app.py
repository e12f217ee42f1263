"""The benchmarks as commands: each measures, prints its table, and writes its section of the page if asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typing_extensions import Annotated

from paddle_resume.benchmark.report import (
    describe_machine,
    share_table,
    throughput_section,
    throughput_table,
    write_section,
)
from paddle_resume.benchmark.throughput import Throughput, measure, processes
from paddle_resume.errors import PaddleResumeError

app = typer.Typer(
    help="Measure side by side what is promised.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PIPE_WIDTH = 130

JsonFile = Annotated[Optional[Path], typer.Option("--json", help="Write every single value to this file.")]
Page = Annotated[Optional[Path], typer.Option("--write", help="Update the section of this page.")]


@app.callback()
def _commands() -> None:
    """Measure side by side what is promised."""


@app.command()
def throughput(
    rounds: Annotated[int, typer.Option(min=1, help="How often each contestant runs.")] = 5,
    steps: Annotated[
        int, typer.Option(min=1, max=900, help="Steps that count; the share takes twice as many, of one epoch.")
    ] = 200,
    json_file: JsonFile = None,
    write: Page = None,
) -> None:
    """Samples a second: the trainer, the plain loop of Paddle's tutorials, and paddle.Model.fit."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    found = _with_progress(rounds, steps, console)
    console.print(f"{describe_machine(found.machine)}\n")
    console.print(throughput_table(found))
    console.print(share_table(found))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    if write is not None:
        write_section(write, "throughput", throughput_section(found))


def main() -> None:
    """Run one command and end the process: 0 measured, 2 an error, 130 interrupted."""
    try:
        app()
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _with_progress(rounds: int, steps: int, console: Console) -> Throughput:
    if not console.is_terminal:
        return measure(rounds, steps, tell=lambda text: print(text, flush=True))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=processes(rounds))
        return measure(rounds, steps, tell=lambda text: progress.update(task, advance=1, description=text))
