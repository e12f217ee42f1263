"""The benchmark's contestants really train, and its table says what was measured."""

from __future__ import annotations

import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from paddle_resume.benchmark import throughput
from paddle_resume.benchmark.report import throughput_section, throughput_table, write_section
from paddle_resume.benchmark.throughput import CONTESTANTS, PEERS, TRAINER, Throughput, measure
from paddle_resume.errors import DataError, PaddleResumeError

DATA = os.environ.get("PADDLE_RESUME_DATA")
needs_real_data = pytest.mark.skipif(
    not DATA or not Path(DATA, "mnist", "train-images-idx3-ubyte.gz").exists(),
    reason="needs MNIST's .gz files in $PADDLE_RESUME_DATA/mnist",
)
ONE = {"median": 1.5, "mean": 2.5}
MACHINE = {"cpu": "Some CPU", "cores": 2, "paddle": "3", "numpy": "2", "python": "3", "OMP_NUM_THREADS": "2"}
FOUND = Throughput(
    steps=200,
    warmup=30,
    samples_per_second={
        TRAINER.name: [100.0, 200.0, 330.0],
        PEERS[0].name: [50.0, 160.0, 110.0],  # ratios 2, 1.25 and 3
        PEERS[1].name: [100.0, 400.0, 300.0],  # 1, 0.5 and 1.1
        PEERS[2].name: [100.0, 200.0, 300.0],  # 1, 1 and 1.1
    },
    share={
        "own": ONE,
        "own_and_batch": {"median": 2.0, "mean": 3.0},
        "milliseconds": {"step": 20.0, "work": 19.6, "batch": 0.1, "own": 0.3},
        "steps": 400,
    },
    machine={**MACHINE, "MKL_DEBUG_CPU_TYPE": None},
)


def cells(text: str, start: str) -> list[str]:
    """The cells of the one table line that begins with `start`."""
    (line,) = [line for line in text.replace("│", "|").splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@needs_real_data
def test_every_contestant_trains_and_the_share_is_a_share(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # must reach nobody
    given: dict[str, dict[str, str]] = {}
    run = throughput._run

    def recording(name, command, counts, data, environment):
        given[name] = {key: environment[key] for key in throughput.MATH_VARIABLES if key in environment}
        return run(name, command, counts, data, environment)

    monkeypatch.setattr(throughput, "_run", recording)
    lines: list[str] = []
    found = measure(1, 2, warmup=1, tell=lines.append)

    assert len(lines) == throughput.processes(1)
    assert {name: len(speeds) for name, speeds in found.samples_per_second.items()} == {
        contestant.name: 1 for contestant in CONTESTANTS
    }
    assert all(speed > 0 for speeds in found.samples_per_second.values() for speed in speeds)
    assert 0 < found.share["own"]["median"] < found.share["own_and_batch"]["median"] < 100
    assert found.share["steps"] == 4
    # What the trainer chose by itself is what the peers in the same environment were given, and no one else.
    chosen = {key: found.machine[key] for key in throughput.MATH_VARIABLES if found.machine[key]}
    assert chosen and chosen["OMP_NUM_THREADS"] != "7"
    assert [given[peer.name] for peer in PEERS] == [{}, chosen, chosen]
    assert given[TRAINER.name] == {}


def test_ratios_are_taken_within_a_round_and_their_median_is_held_against_the_target():
    console = Console(file=StringIO(), width=140)
    console.print(throughput_table(FOUND))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (printed, throughput_section(FOUND)):
        assert cells(text, "trainer")[1:3] == ["200", "(100-330)"]
        name = PEERS[0].name
        assert cells(text, name) == [name, "110", "(50-160)", "2.00", "(1.25-3.00)", ">= 1.5", "yes"]
        assert cells(text, PEERS[1].name)[3:] == ["1.00", "(0.50-1.10)", ">= 1.0", "yes"]
        assert cells(text, PEERS[2].name)[3:] == ["1.00", "(1.00-1.10)", ">= 1.2", "no"]


def test_the_section_gives_the_share_and_names_the_machine_and_the_command():
    text = throughput_section(FOUND)
    assert "Some CPU, 2 physical cores; Paddle 3, NumPy 2" in text
    assert "python tools/benchmark.py throughput --rounds 3 --steps 200" in text
    assert cells(text, "without") == [
        "without bringing the batch: 0.30 of 20.00 ms", "1.50 %", "2.50 %", "< 2 %", "yes",
    ]  # fmt: skip
    assert cells(text, "with it")[-1] == "no"  # 2 % is not under 2 %


def test_writing_a_section_replaces_its_older_self_and_nothing_else(tmp_path):
    page = tmp_path / "benchmarks.md"
    write_section(page, "throughput", r"first \1")
    write_section(page, "restore", "other")
    write_section(page, "throughput", r"second \1")
    text = page.read_text()
    assert "first" not in text and text.count(r"second \1") == 1 and text.count("other") == 1
    assert text.startswith("# Benchmarks") and text.index("second") < text.index("other")


def test_a_missing_mnist_is_an_error_that_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_RESUME_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"mnist lacks train-images-idx3-ubyte.gz, .*\$PADDLE_RESUME_DATA"):
        measure(1, 1)


def test_a_contestant_that_fails_is_an_error_with_the_end_of_its_output(tmp_path, monkeypatch):
    broken = replace(TRAINER, command=("-c", "print('so much'); raise SystemExit(3)"))
    with pytest.raises(PaddleResumeError, match=r"trainer ended with exit code 3 (?s:.*)so much"):
        throughput._run(broken.name, broken.command, (1, 1), tmp_path, dict(os.environ))
