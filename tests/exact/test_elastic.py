"""Elastic runs: the same bits on any number of processes, also when their number changes in mid-run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paddle
import pytest
from crash.sweep import require_strace
from hosts import joined_namespaces, launch_node
from places import PROGRAMS
from ranks import Ended, start_ranks, wait_for

from paddle_resume.checkpoint.catalog import find_all
from paddle_resume.checkpoint.reader import load
from paddle_resume.testing import first_differences

PROGRAM = PROGRAMS / "train_elastic.py"
NETS = ("convolution", "batch-norm", "dropout", "transformer", "lstm")
OTHERS = ("stream", "lbfgs", "frozen", "workers", "tiny", "norms", "named", "sampler")
REMAINDERS = tuple(f"remainder-{more}" for more in range(9))
ALL = (*NETS, *OTHERS, *REMAINDERS)
FEW = (*NETS, "lbfgs", "tiny", "named", "sampler", "remainder-1")  # in the default tests
SHORT = ("batch-norm", "dropout")


def run(folder: Path, ranks: int, *options: object, timeout: float = 300, **variables: str) -> Ended:
    return wait_for(start_ranks(folder, ranks, *options, program=PROGRAM, **variables), time.monotonic(), timeout)


def trained(folder: Path, ranks: int, nets: Sequence[str], *options: object) -> Path:
    ended = run(folder, ranks, "--nets", *nets, *options)
    assert ended.good, ended.explain()
    return folder


def served(nets: Sequence[str]) -> list[str]:
    """Those that a parameter server can train."""
    return [net for net in nets if net != "lbfgs"]


def require_the_same(one: Path, other: Path, nets: Sequence[str], stopped_after: Sequence[int] = ()) -> None:
    found = {net: first_differences(one / net, other / net, stopped_after=stopped_after) for net in nets}
    assert found == {net: [] for net in nets}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves with four shares."""
    return trained(tmp_path_factory.mktemp("one"), 1, FEW)


@pytest.fixture(scope="module")
def by_shares(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What one process leaves by the number of shares."""
    return {v: trained(tmp_path_factory.mktemp(f"v{v}"), 1, ALL, "--shares", v) for v in (2, 4, 8)}


# ---------------------------------------------------------------- any number of processes


def test_two_processes_leave_the_bits_of_one(one: Path, tmp_path: Path) -> None:
    require_the_same(one, trained(tmp_path / "two", 2, FEW), FEW)


@pytest.mark.full
@pytest.mark.parametrize("exchange", ["pairs", "halving"])
@pytest.mark.parametrize(("shares", "ranks"), [(2, 2), (4, 2), (4, 4), (8, 2), (8, 4), (8, 8)])
def test_every_net_and_every_remainder_by_any_shares_and_processes(
    shares: int, ranks: int, exchange: str, by_shares: dict[int, Path], tmp_path: Path
) -> None:
    more = trained(tmp_path / "more", ranks, ALL, "--shares", shares, "--exchange", exchange)
    require_the_same(by_shares[shares], more, ALL)


def test_a_parameter_server_with_two_trainers_leaves_the_bits_of_one(one: Path, tmp_path: Path) -> None:
    nets = served(FEW)
    require_the_same(one, trained(tmp_path / "served", 3, nets, "--exchange", "server"), nets)


@pytest.mark.full
@pytest.mark.parametrize(("shares", "ranks"), [(2, 2), (2, 3), (4, 3), (4, 5), (8, 2), (8, 3), (8, 5), (8, 9)])
def test_every_net_and_every_remainder_by_a_parameter_server(
    shares: int, ranks: int, by_shares: dict[int, Path], tmp_path: Path
) -> None:
    more = trained(tmp_path / "more", ranks, served(ALL), "--shares", shares, "--exchange", "server")
    require_the_same(by_shares[shares], more, served(ALL))


@pytest.mark.full
def test_the_number_of_shares_is_part_of_the_bits(by_shares: dict[int, Path]) -> None:
    for net in ALL:
        assert first_differences(by_shares[2] / net, by_shares[4] / net), net


# ---------------------------------------------------------------- their number changes


LEGS = [(4, ("--doom", 1, 3, "term", "step")), (1, ("--doom", 0, 6, "term", "boundary")), (2, ())]
PATIENT = [
    (2, ("--doom", 1, 3, "term", "step", "--patient")),
    (3, ("--doom", 2, 6, "term", "boundary", "--patient", "--exchange", "server")),
    (2, ("--patient", "--exchange", "halving")),
]
SERVED = [
    (5, ("--doom", 1, 3, "term", "step", "--exchange", "server")),
    (1, ("--doom", 0, 6, "term", "boundary")),
    (3, ("--exchange", "server")),
]


def four_then_one_then_two(
    folder: Path, nets: Sequence[str], *options: object, legs: Sequence[tuple[int, Any]] = LEGS
) -> Path:
    for ranks, doom in legs:
        ended = run(folder, ranks, "--nets", *nets, *options, *doom)
        assert ended.good, ended.explain()
        # The run of LBFGS is over by step 6.
        stopped = set(re.findall(r"^stopped (.*)$", ended.outputs[0], re.M))
        assert (stopped >= set(nets) - {"lbfgs"}) if "--doom" in doom else not stopped
    return folder


def test_four_then_one_then_two_processes_end_as_one_that_nobody_stopped(one: Path, tmp_path: Path) -> None:
    nets = ("batch-norm", "transformer", "lstm", "named", "sampler")
    require_the_same(one, four_then_one_then_two(tmp_path, nets), nets, stopped_after=range(3, 7))


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(4, 2, marks=pytest.mark.full)])
def test_fewer_processes_go_on_from_what_more_had_in_memory(before: int, after: int, one: Path, tmp_path: Path) -> None:
    net, memory = "batch-norm", {"PADDLE_RESUME_MEMORY": "1"}
    assert not run(tmp_path, before, "--nets", net, "--doom", 1, 5, "kill", "step", **memory).good
    ended = run(tmp_path, after, "--nets", net, **memory)
    assert ended.good, ended.explain()
    newest = next(found.record for found in find_all(tmp_path / net / "checkpoint") if found.record)
    assert [(event["from"], event["step"]) for event in newest.lineage if event["event"] == "resume"] == [("memory", 5)]
    require_the_same(one, tmp_path, [net])


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    with joined_namespaces() as names:
        yield names


@pytest.mark.parametrize("net", [pytest.param("batch-norm", marks=pytest.mark.full), "dropout"])
@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.full), 1])
def test_a_host_that_goes_and_comes_back_changes_nothing(
    lost: int, net: str, two_hosts: tuple[str, str], one: Path, tmp_path: Path
) -> None:
    command = (PROGRAM, "--every-steps", 2, "--nets")

    def together(*options: object) -> list[Any]:
        return [launch_node(two_hosts, number, tmp_path / "run", *command, *options) for number in (0, 1)]

    before = together(net, "--doom", lost, 3, "kill", "exchange")
    assert all(each.communicate(timeout=120)[0] is not None and each.returncode for each in before)
    # The other one alone, until the machine is back.
    left = launch_node(two_hosts, 1 - lost, tmp_path / "run", *command, net, "--doom", 0, 6, "term", "step", nodes=1)
    said = left.communicate(timeout=120)[0]
    assert left.returncode == 0 and f"stopped {net}" in said, said
    after = together(net)
    assert [each.communicate(timeout=120)[0] and each.returncode for each in after] == [0, 0]
    require_the_same(one, tmp_path / "run", [net], stopped_after=range(2, 8))


@pytest.mark.full
@pytest.mark.parametrize("exchange", ["pairs", "halving"])
@pytest.mark.parametrize("shares", [4, 8])
def test_every_net_by_four_then_one_then_two_processes(
    shares: int, exchange: str, by_shares: dict[int, Path], tmp_path: Path
) -> None:
    more = four_then_one_then_two(tmp_path, ALL, "--shares", shares, "--exchange", exchange)
    require_the_same(by_shares[shares], more, ALL, stopped_after=range(3, 7))


@pytest.mark.full
def test_a_parameter_server_then_one_process_then_a_server_end_as_one_that_nobody_stopped(
    one: Path, tmp_path: Path
) -> None:
    nets = ("batch-norm", "lstm", "named", "sampler")
    require_the_same(one, four_then_one_then_two(tmp_path, nets, legs=SERVED), nets, stopped_after=range(3, 7))


@pytest.mark.full
@pytest.mark.parametrize("shares", [4, 8])
def test_every_net_by_a_parameter_server_then_one_process_then_a_server(
    shares: int, by_shares: dict[int, Path], tmp_path: Path
) -> None:
    more = four_then_one_then_two(tmp_path, served(ALL), "--shares", shares, legs=SERVED)
    require_the_same(by_shares[shares], more, served(ALL), stopped_after=range(3, 7))


@pytest.mark.parametrize("late", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(0, marks=pytest.mark.full)])
@pytest.mark.parametrize(("kind", "ranks"), [("pairs", 4), ("server", 3)])
def test_a_process_that_connects_late_is_found_by_its_own_group(
    kind: str, ranks: int, late: int, tmp_path: Path
) -> None:
    require_strace()
    processes = start_ranks(tmp_path, ranks, kind, late, program=PROGRAMS / "exchange_sums.py")
    while not (tmp_path / "waits").exists():
        assert processes[late].poll() is None, processes[late].communicate()
        time.sleep(0.01)
    delay = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=sendto", "-e", "inject=sendto:delay_enter=30000"]
    with subprocess.Popen([*delay, "-p", str(processes[late].pid)]):
        ended = wait_for(processes, time.monotonic())
    assert ended.good, ended.explain()
    trainers = range(ranks) if kind == "pairs" else range(1, ranks)
    sums = [sum(2**rank for rank in trainers) if rank == 0 or kind == "pairs" else None for rank in range(ranks)]
    assert [f"sum {sums[rank]}" in output for rank, output in enumerate(ended.outputs)] == [True] * ranks


@pytest.mark.full
def test_a_stop_and_a_save_that_are_told_with_the_exchange_alone_change_nothing(one: Path, tmp_path: Path) -> None:
    nets = ("batch-norm", "lstm", "named")
    require_the_same(one, four_then_one_then_two(tmp_path, nets, legs=PATIENT), nets, stopped_after=range(3, 8))


DEATHS = {
    "rank 1 between its shares and the sum": (1, 6, "kill", "exchange"),
    "rank 0 between its shares and the sum": (0, 6, "kill", "exchange"),
    "rank 1 before a step": (1, 6, "kill", "step"),
    "rank 0 after a step": (0, 6, "kill", "boundary"),
    "rank 1 in an evaluation": (1, 5, "kill", "evaluate"),
    "rank 0 in an evaluation": (0, 5, "kill", "evaluate"),
    "rank 0 when a save has landed": (0, 8, "kill", "save"),
    "both at once": (-1, 6, "kill", "exchange"),
}


@pytest.mark.parametrize("then", [4, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "which", [pytest.param(w, marks=() if w == next(iter(DEATHS)) else pytest.mark.full) for w in DEATHS]
)
def test_a_killed_run_goes_on_with_another_number_of_processes(
    which: str, then: int, one: Path, tmp_path: Path
) -> None:
    rank = DEATHS[which][0]
    ended = run(tmp_path, 2, "--nets", "dropout", "--doom", *DEATHS[which], "--background")
    assert ended.statuses[max(rank, 0)] == -signal.SIGKILL, ended.explain()
    if rank >= 0:
        assert f"error: rank {rank}: it is gone without a word" in ended.outputs[1 - rank]
    again = run(tmp_path, then, "--nets", "dropout")
    assert again.good, again.explain()
    if DEATHS[which][1:] == (6, "kill", "exchange"):
        assert "Made again: 5, the same bits." in again.outputs[0]
    require_the_same(one, tmp_path, ["dropout"])


# gloo of Paddle 2.6 has been seen to wait for minutes for a process that is gone.
IS_OLD = paddle.__version__.startswith("2.")
SERVED_DEATHS = {
    "the server between what was pushed and the update": (0, 6, "kill", "exchange"),
    "a trainer between its shares and the push": (1, 6, "kill", "exchange"),
    "the server between the update and what is handed out": (0, 6, "kill", "hand-out"),
    "a trainer between the push and what is handed out": (2, 6, "kill", "hand-out"),
    "a trainer before a step": (2, 6, "kill", "step"),
    "the server in an evaluation": (0, 5, "kill", "evaluate"),
    "the server when a save has landed": (0, 8, "kill", "save"),
    "all at once": (-1, 6, "kill", "exchange"),
}
SERVED_THEN = {"server": (3, "server"), "more trainers": (5, "server"), "pairs": (2, "pairs"), "one": (1, "pairs")}


@pytest.mark.parametrize(
    "then", [pytest.param(t, marks=() if t == "server" else pytest.mark.full) for t in SERVED_THEN]
)
@pytest.mark.parametrize(
    "which",
    [
        pytest.param(w, marks=() if n in (1, 2) and not IS_OLD else pytest.mark.full)
        for n, w in enumerate(SERVED_DEATHS)
    ],
)
def test_a_killed_server_or_trainer_changes_nothing(which: str, then: str, one: Path, tmp_path: Path) -> None:
    rank, ranks, exchange = SERVED_DEATHS[which][0], *SERVED_THEN[then]
    ended = run(
        tmp_path, 3, "--nets", "dropout", "--doom", *SERVED_DEATHS[which], "--background", "--exchange", "server"
    )
    assert ended.statuses[max(rank, 0)] == -signal.SIGKILL, ended.explain()
    if rank >= 0:
        told = [f"error: rank {rank}: it is gone" in output for output in ended.outputs]
        assert told == [other != rank for other in range(3)], ended.explain()
    again = run(tmp_path, ranks, "--nets", "dropout", "--exchange", exchange)
    assert again.good, again.explain()
    require_the_same(one, tmp_path, ["dropout"])


@pytest.mark.full
def test_a_server_waits_for_trainers_whose_steps_take_longer_than_gloo_would(one: Path, tmp_path: Path) -> None:
    late = trained(tmp_path, 3, ["dropout"], "--doom", 1, 3, "late", "step", "--exchange", "server")
    require_the_same(one, late, ["dropout"])


def test_a_resume_on_more_processes_sees_that_its_steps_came_out_otherwise(tmp_path: Path) -> None:
    assert not run(tmp_path, 1, "--nets", "dropout", "--doom", 0, 7, "kill", "step").good
    ended = run(tmp_path, 2, "--nets", "dropout", "--break", "generator")
    assert not ended.good
    assert "Step 5 (counted from 0) was made again and came out otherwise: its data are the same" in ended.outputs[0]


# ---------------------------------------------------------------- negative controls


BROKEN = [
    ("tree", 1, "pairs"),
    ("generator", 2, "pairs"),
    ("buffers", 1, "pairs"),
    ("all-reduce", 4, "pairs"),
    ("tree", 5, "server"),
    ("stale weights", 3, "server"),
]


@pytest.mark.parametrize(
    ("broken", "ranks", "exchange"), [pytest.param(*b, marks=pytest.mark.full if b[1] > 3 else ()) for b in BROKEN]
)
def test_what_is_not_elastic_shows(broken: str, ranks: int, exchange: str, one: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "broken", ranks, SHORT, "--break", broken, "--exchange", exchange)
    found = [line for net in SHORT for line in first_differences(one / net, other / net)]
    assert any("net.pdparams: bytes differ" in line for line in found), found


def test_threads_change_bits_unless_they_are_pinned(tmp_path: Path) -> None:
    trained(tmp_path / "one", 1, ["wide"])
    processes = {}
    for broken in ("", "threads"):
        folder = tmp_path / f"two {broken}".strip()
        folder.mkdir()
        command = [sys.executable, PROGRAM, "--nets", "wide", "--break", broken]
        # A process of its own, since Paddle reads it when it is imported.
        processes[folder] = subprocess.Popen(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert [process.wait(timeout=120) for process in processes.values()] == [0, 0]
    found = {folder.name: first_differences(tmp_path / "one", folder) for folder in processes}
    assert found["two"] == []
    assert any("net.pdparams: bytes differ" in line for line in found["two threads"])
    recorded = [load(folder / "wide" / "checkpoint" / "net_epoch0").record.owners for folder in processes]
    assert [owners["environment"]["OMP_NUM_THREADS"] for owners in recorded] == ["1", "2"]
    assert "world_size" not in recorded[0]["environment"]


# ---------------------------------------------------------------- what may change, and what not


def test_shares_cannot_change_and_an_ordinary_run_is_offered_the_mode(tmp_path: Path) -> None:
    trained(tmp_path, 1, ["dropout"], "--steps", 4)
    other = run(tmp_path, 1, "--nets", "dropout", "--shares", 2)
    assert other.statuses == [2]
    assert re.search(r"elastic: 4 -> 2 \(set by Processes\(elastic=\)\)", other.outputs[0])
    ordinary = run(tmp_path, 1, "--nets", "dropout", "--ordinary")
    assert ordinary.statuses == [2] and "elastic: 4 -> None" in ordinary.outputs[0]

    trained(tmp_path / "ordinary", 2, ["dropout"], "--steps", 4, "--ordinary")
    refused = run(tmp_path / "ordinary", 1, "--nets", "dropout", "--ordinary")
    assert refused.statuses == [2] and "environment world_size: 2 -> 1" in refused.outputs[0]
    assert "A run that begins with Processes(elastic=4) may go on with 1, 2 or 4 processes" in refused.outputs[0]


def test_as_many_processes_as_do_not_divide_the_shares_are_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, 3, "--nets", "dropout")
    assert ended.statuses == [2, 2, 2], ended.explain()
    assert "Processes(elastic=4) is for 1, 2 or 4 processes" in ended.outputs[0]
    assert "and 3 were started" in ended.outputs[0]


def test_a_parameter_server_where_there_can_be_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    said = {
        (1, ()): "needs a process for the server and at least one that trains, and 1 process was started",
        (4, ()): "is for 2, 3 or 5 processes, of which one is the server",
        (2, ("--ordinary",)): "is an exchange of elastic runs, and Processes(elastic=) is not set",
    }
    for (ranks, options), sentence in said.items():
        ended = run(tmp_path, ranks, "--nets", "dropout", "--exchange", "server", *options)
        assert ended.statuses == [2] * ranks, ended.explain()
        assert sentence in ended.outputs[0], ended.outputs[0]
