"""The benchmarks as commands: each measures, prints its table, and writes its section of the page if asked."""

# Without `from __future__ import annotations`: on Python 3.9 Typer would not see the options in the annotations.
import json
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typing_extensions import Annotated

from benchmarks import parallel_rounds as parallel_benchmark
from benchmarks import saving as saving_benchmark
from benchmarks import throughput as throughput_benchmark
from benchmarks.parallel_page import parallel_section
from benchmarks.tables_and_page import (
    comparison_tables,
    describe_machine,
    saving_section,
    saving_tables,
    share_table,
    throughput_section,
    throughput_table,
    write_section,
)
from paddle_resume.errors import ConfigError, PaddleResumeError

app = typer.Typer(
    help="Measure side by side what is promised.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PIPE_WIDTH = 130
_SIZES = "1,64,512,2048"

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
    console = _console()
    found = _with_progress(
        lambda tell: throughput_benchmark.measure(rounds, steps, tell=tell),
        throughput_benchmark.processes(rounds),
        console,
    )
    console.print(f"{describe_machine(found.machine)}\n")
    console.print(throughput_table(found))
    console.print(share_table(found))
    _keep(found, json_file, write, "throughput", throughput_section)


@app.command()
def saving(
    sizes: Annotated[str, typer.Option(help="Sizes of the state in MiB, weights and optimizer together.")] = _SIZES,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contestant runs.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Training steps that count, with a save every 10.")] = 200,
    folder: Annotated[
        Optional[Path], typer.Option(help="Write here: its disk is measured. Default: the folder for temporary files.")
    ] = None,
    json_file: JsonFile = None,
    write: Page = None,
) -> None:
    """What saving and resuming cost: the stall, the disk, the memory, training meanwhile, and the way back."""
    console = _console()
    wanted = _numbers(sizes)
    found = _with_progress(
        lambda tell: saving_benchmark.measure(wanted, rounds, steps, folder, tell),
        saving_benchmark.units(wanted, rounds),
        console,
    )
    console.print(f"{describe_machine(found.machine)}; {found.machine['disk']}\n")
    for table in saving_tables(found):
        console.print(table)
    for line in found.skipped:
        console.print(f"left out: {line}")
    _keep(found, json_file, write, "saving", saving_section)


@app.command()
def parallel(
    rounds: Annotated[int, typer.Option(min=1, help="How often each contestant runs.")] = 5,
    steps: Annotated[int, typer.Option(min=1, max=900, help="Steps that count, of one epoch.")] = 40,
    json_file: JsonFile = None,
    write: Page = None,
) -> None:
    """Training with two processes: beside one, beside paddle.DataParallel, and what they exchange, save and restore."""
    console = _console()
    found = _with_progress(
        lambda tell: parallel_benchmark.measure(rounds, steps, tell), parallel_benchmark.units(rounds), console
    )
    console.print(f"{describe_machine(found.machine)}\n")
    for table in comparison_tables(found.comparisons, found.rounds):
        console.print(table)
    _keep(found, json_file, write, "parallel", parallel_section)


def main() -> None:
    """Run one command and end the process: 0 measured, 2 an error, 130 interrupted."""
    try:
        app()
    except PaddleResumeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _with_progress(measure: Callable[[Callable[[str], None]], Any], total: int, console: Console) -> Any:
    if not console.is_terminal:
        return measure(lambda text: print(text, flush=True))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=total)
        return measure(lambda text: progress.update(task, advance=1, description=text))


def _keep(
    found: Any, json_file: Optional[Path], page: Optional[Path], name: str, section: Callable[[Any], str]
) -> None:
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    if page is not None:
        write_section(page, name, section(found))


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--sizes is {text!r}; give whole numbers of MiB with commas between, such as {_SIZES}.")
    return numbers
