"""The benchmark's contestants really train, and its table says what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import parallel_rounds, parallel_training, saving, throughput
from benchmarks.child_process import bare_environment, result_of
from benchmarks.parallel_page import parallel_section
from benchmarks.parallel_rounds import DIGITS, IN_MEMORY, NETS, PLAIN, SIZES, WIDE
from benchmarks.parallel_rounds import TRAINER as PARALLEL_TRAINER
from benchmarks.stopwatch import OtherWork
from benchmarks.tables_and_page import (
    comparison_tables,
    saving_section,
    saving_tables,
    throughput_section,
    throughput_table,
    write_section,
)
from benchmarks.throughput import CONTESTANTS, PEERS, TRAINER, Throughput, measure
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


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As a user is who calls tools/benchmark.py by its path: in another folder, with nothing set."""
    for name in ("PYTHONPATH", *throughput.MATH_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)


def test_a_child_finds_the_benchmarks_from_any_folder_and_sets_up_the_cpu_before_paddle(monkeypatch, tmp_path):
    elsewhere(monkeypatch, tmp_path)
    environment = result_of("the environment", "benchmarks.large_state", {"part": "environment"})
    chosen = throughput._chosen_by_the_package(bare_environment())
    assert chosen and {name: environment[name] for name in chosen} == chosen


@pytest.mark.full
def test_the_plain_loops_do_not_have_the_cpu_set_up_of_the_package(monkeypatch, tmp_path):
    elsewhere(monkeypatch, tmp_path)
    (command,) = {contestant.command[:-1] for contestant in PEERS}

    def set_after(statement: str) -> dict[str, str]:
        code = f"import json, os, runpy\n{statement}\nprint(json.dumps(dict(os.environ)))"
        done = subprocess.run([sys.executable, "-c", code], env=bare_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        return {name: found[name] for name in throughput.MATH_VARIABLES if name in found}

    assert set_after(f"runpy.run_path({command[0]!r})") == set_after("import paddle") != set_after("import benchmarks")


def test_the_door_to_the_benchmarks_opens_from_any_folder(monkeypatch, tmp_path):
    elsewhere(monkeypatch, tmp_path)
    door = Path(throughput.__file__).parent.parent / "tools" / "benchmark.py"
    done = subprocess.run([sys.executable, str(door), "saving", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--sizes" in done.stdout, done.stderr


def cells(text: str, start: str) -> list[str]:
    """The cells of the one table line that begins with `start`."""
    (line,) = [line for line in text.replace("│", "|").splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@needs_real_data
@pytest.mark.full
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
        assert cells(text, name) == [name, "110", "(50-160)", "2.00", "(1.25-3.00)", ">= 1.5", "open"]
        assert cells(text, PEERS[1].name)[3:] == ["1.00", "(0.50-1.10)", ">= 1.0", "open"]
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


def comparison(values, peer_values, **bounds):
    return saving.Comparison("stall", "1 MiB", "save", "copyto", "ms", values, peer_values, **bounds)


@pytest.mark.full
def test_every_part_of_saving_is_measured(monkeypatch):
    monkeypatch.setattr(saving, "WARMUP", 1)
    monkeypatch.setattr(saving, "_EPOCH_STEPS", 100)
    lines: list[str] = []
    found = saving.measure([1], 1, steps=10, tell=lines.append)

    assert len(lines) == saving.units([1], 1) and found.skipped == []
    assert [(one.part, one.mine, one.peer) for one in found.comparisons] == [
        ("stall", "save", "copyto"),
        ("stall", "save", "paddle.save"),
        ("stall", "first save", "first copyto"),
        ("persist", "persist", "raw write"),
        ("restore", "restore", "read and digest"),
        ("restore", "restore", "paddle.load"),
        ("memory", "save", "one copy of the state"),
        ("memory", "restore", "one copy of the state"),
        ("training", "saves behind training", "no saves"),
        ("training", "saves in line", "no saves"),
        ("training", "paddle.save", "no saves"),
        ("start", "resume at 99 %", "resume at 1 %"),
    ]
    assert all(len(one.values) == len(one.peer_values) == 1 for one in found.comparisons)
    assert all(one.peer_values[0] > 0 for one in found.comparisons)
    (state,) = {one.peer_values[0] for one in found.comparisons if one.part == "memory"}
    assert 0.97 < state <= 1


def test_ratios_of_saving_are_within_a_round_and_held_against_both_bounds():
    one = comparison([2.0, 9.0, 4.0], [1.0, 3.0, 4.0], at_most=2.0)
    assert one.ratios == [2.0, 3.0, 1.0] and one.verdict == "open"  # The rounds do not agree.
    assert replace(one, at_most=3.0).verdict == "yes" and replace(one, at_most=0.9).verdict == "no"
    assert replace(one, at_most=3.0, at_least=1.0).verdict == "yes"
    assert replace(one, at_most=3.0, at_least=1.1).verdict == "open"
    assert replace(one, at_most=None).verdict == ""


def test_seconds_become_comparisons_with_their_targets():
    names = ("stall", "copyto", "paddle.save", "first stall", "first copyto", "persist", "raw write", "restore")
    seconds = {name: [1.0] for name in (*names, "read and digest", "paddle.load")}
    found = saving.compare_times(64, 64 << 20, {**seconds, "persist": [2.0], "paddle.save": [31.0]})
    assert [one.ratios for one in found] == [[1.0], [1 / 31], [1.0], [0.5], [1.0], [1.0]]
    assert [one.verdict for one in found] == ["yes", "yes", "", "no", "yes", ""]
    assert found[3].values == [32.0]  # MiB a second


def test_the_section_on_saving_shows_ratio_target_and_what_was_left_out():
    one = comparison([2.0, 9.0, 4.0], [1.0, 3.0, 4.0], at_most=1.3)
    machine = {**MACHINE, "MKL_DEBUG_CPU_TYPE": None, "disk": "ext4"}
    found = saving.Saving([1, 2048], 3, 200, [one], machine, ["2048 MiB: too large"])
    console = Console(file=StringIO(), width=140)
    for table in saving_tables(found):
        console.print(table)
    for text in (console.file.getvalue(), saving_section(found)):  # type: ignore[attr-defined]
        assert cells(text, "1 MiB: save") == [
            "1 MiB: save", "4 (2-9) ms", "copyto", "3 (1-4) ms", "2 (1-3)", "<= 1.3", "open",
        ]  # fmt: skip
    text = saving_section(found)
    assert "benchmark.py saving --sizes 1,2048 --rounds 3 --steps 200" in text
    assert "Left out: 2048 MiB: too large." in text and "2 physical cores" in text and "; ext4." in text


def test_a_size_without_room_is_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_interference", lambda *_: [])
    monkeypatch.setattr(saving, "_resume_start", lambda *_: comparison([1.0], [1.0]))
    lines: list[str] = []
    found = saving.measure([1 << 30], 1, folder=tmp_path, tell=lines.append)
    assert len(found.comparisons) == 1 and "paddle" in found.machine
    assert "MiB of memory, and" in found.skipped[0] and "left out" in lines[0]
    assert list(tmp_path.iterdir()) == []


@needs_real_data
@pytest.mark.full
def test_every_part_of_training_with_two_processes_is_measured(monkeypatch):
    monkeypatch.setattr(parallel_rounds, "WARMUP", 1)
    lines: list[str] = []
    found = parallel_rounds.measure(1, 2, tell=lines.append)
    assert len(lines) == parallel_rounds.units(1)
    assert {one.part for one in found.comparisons} == {"speed", "scaling", "exchange", "saving"}
    assert all(value > 0 for one in found.comparisons for value in (*one.values, *one.peer_values))
    assert found.machine["OMP_NUM_THREADS"] == "1"


@needs_real_data
@pytest.mark.full
def test_two_processes_train_exchange_and_save(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel_rounds, "WARMUP", 1)
    monkeypatch.setattr(parallel_rounds, "STATE_MIB", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # must reach nobody
    data = throughput.mnist_folder()
    ours = parallel_rounds._train(DIGITS, PARALLEL_TRAINER, 2, 2, data)
    assert ours["environment"]["world_size"] == 2 and ours["environment"]["OMP_NUM_THREADS"] == "1"
    assert min(ours["seconds"], parallel_rounds._train(WIDE, IN_MEMORY, 2, 2, data)["seconds"]) > 0
    exchange = parallel_rounds._exchange()
    assert len(exchange) == 6 and min(exchange.values()) > 0
    saving_seconds = parallel_rounds._saving(2)
    assert set(saving_seconds) == {"stall", "persist", "restore"} and min(saving_seconds.values()) > 0


@needs_real_data
@pytest.mark.full
def test_the_plain_loop_takes_the_same_kind_of_batches_from_files_and_from_memory():
    data = throughput.mnist_folder()
    shapes = []
    for batches in (parallel_training.batches_of_files, parallel_training.batches_in_memory):
        images, labels = next(iter(batches(data, 32)))
        shapes.append((images.shape, images.dtype, labels.shape, labels.dtype))
        assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert shapes[0] == shapes[1] and shapes[0][0] == [32, 1, 28, 28]
    assert parallel_training.time_plain_loop(parallel_training.NETS[DIGITS](), True, 1, 1, data)["seconds"] > 0


def test_scaling_is_the_ratio_within_a_round_and_an_exchange_is_held_against_a_step_of_that_round():
    ways = (PARALLEL_TRAINER, PLAIN, IN_MEMORY)
    speeds = {(net, way, size): [100.0, 400.0] for net in NETS for way in ways for size in SIZES}
    speeds[DIGITS, PARALLEL_TRAINER, 2] = [150.0, 800.0]
    speed = {(one.part, one.case, one.peer): one for one in parallel_rounds.compare_speed(speeds)}
    assert speed["speed", "MNIST, 2 processes", PLAIN].ratios == [1.5, 2.0]
    assert speed["scaling", "MNIST, 2 over 1", PLAIN].values == [1.5, 2.0]
    assert speed["scaling", "MNIST, 2 over 1", IN_MEMORY].peer_values == [1.0, 1.0]
    names = (parallel_rounds.AGREE, parallel_rounds.AVERAGE, parallel_rounds.GATHER)
    peers = (parallel_rounds.ONE_NUMBER, parallel_rounds.ONE_TENSOR, parallel_rounds.GATHER_OBJECT)
    exchange = parallel_rounds.compare_exchange({name: [0.002, 0.0001] for name in (*names, *peers)}, speeds)
    # 128 samples take 853 ms in the first round and 160 ms in the second.
    assert exchange[0].ratios == pytest.approx([0.00234375, 0.000625]) and exchange[0].verdict == "yes"
    assert [one.ratios for one in exchange[1:] if one.peer in peers] == [[1.0, 1.0]] * 3


@pytest.mark.full
def test_work_of_others_is_told_from_the_work_of_children():
    burn = "import time; end = time.time() + 1\nwhile time.time() < end: pass"
    quiet = OtherWork()
    subprocess.run([sys.executable, "-c", burn], check=True)
    mine = quiet.share
    other = subprocess.Popen([sys.executable, "-c", burn.replace("+ 1", "+ 2")])  # Counts as mine when it has ended.
    disturbed = OtherWork()
    time.sleep(1)
    while_it_runs = disturbed.share
    other.wait()
    assert 0.2 / (os.cpu_count() or 1) < while_it_runs <= 1
    assert 0 <= mine < 1 and disturbed.share < while_it_runs


def test_the_section_on_several_processes_names_what_was_measured():
    saved = {(name, size): [0.01 * size] for name in ("stall", "persist", "restore") for size in (1, 2)}
    found = parallel_rounds.Parallel(5, 60, parallel_rounds.compare_saving(saved), {**MACHINE, "other_work": 0.254})
    text = parallel_section(found)
    assert "benchmark.py parallel --rounds 5 --steps 60" in text and "the median of 3 saves in each round" in text
    assert "Other programs took 25% of the processors" in text
    console = Console(file=StringIO(), width=140)
    for table in comparison_tables(found.comparisons, found.rounds):
        console.print(table)
    for printed in (console.file.getvalue(), text):  # type: ignore[attr-defined]
        assert cells(printed, "64 MiB: stall") == [
            "64 MiB: stall, 2 processes", "20 ms", "1 process", "10 ms", "2", "<= 1.3", "no",
        ]  # fmt: skip
