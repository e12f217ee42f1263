"""Several processes: they learn what one learns, and an interruption of any of them changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import psutil
import pytest
from hosts import joined_namespaces, launch_node
from places import CONFIGS, PROGRAMS, ROOT
from ranks import PROGRAM, Ended, launch, run_ranks, start_ranks, wait_for

from paddle_resume.checkpoint.reader import load
from paddle_resume.data.batch import Batch, share
from paddle_resume.data.feed import Feed
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.testing import first_differences

SECONDS_TO_END = 15
"""Within so many seconds of a process's death all others have ended; nearly all of it is Python's start and end."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave that nobody interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    ended = run_ranks(folder, 2)
    assert ended.good, ended.explain()
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in paddle.load(str(folder / "digits.pdparams")).items()}


def curves(folder: Path) -> list[dict[str, float]]:
    """The logged values, line by line, without the times."""
    lines = [json.loads(line) for line in (folder / "log" / "metrics.jsonl").read_text().splitlines()]
    return [{tag: value for tag, value in line.items() if isinstance(value, float) and "/" in tag} for line in lines]


def go_on(folder: Path, straight: Path, ended: Ended, *options: object, ranks: int = 2) -> None:
    """The same command again; what it leaves must be what the uninterrupted run has left."""
    assert not ended.good, "nothing was interrupted"
    again = run_ranks(folder, ranks, *options)
    assert again.good, again.explain()
    assert first_differences(straight, folder) == []


# ---------------------------------------------------------------- the same as one process


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--net", "plain"), marks=pytest.mark.full),
        # 16 batches of 16 in groups of 3, of which the last has one.
        pytest.param(("--net", "plain", "--accumulate", 3), marks=pytest.mark.full),
        # 5 samples are shared by 3 processes as 1, 2 and 2; of the last batch, one sample, two have none.
        ("--net", "plain", "--batch-size", 5, "--max-steps", 60, "--every-steps", 100, "ranks 3"),
    ],
    ids=["even", "accumulated", "uneven"],
)
def test_several_processes_learn_what_one_learns(options: tuple[object, ...], tmp_path: Path) -> None:
    ranks = 3 if options[-1] == "ranks 3" else 2
    options = tuple(o for o in options if o != "ranks 3")
    for folder, size in (("one", 1), ("more", ranks)):
        ended = run_ranks(tmp_path / folder, size, *options)
        assert ended.good, ended.explain()
    one, more = weights(tmp_path / "one"), weights(tmp_path / "more")
    for name in one:
        np.testing.assert_allclose(more[name], one[name], rtol=0, atol=2e-5, err_msg=name)
    for ours, theirs in zip(curves(tmp_path / "more"), curves(tmp_path / "one")):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert len(curves(tmp_path / "one")) == len(curves(tmp_path / "more")) > 5


@pytest.fixture(scope="module")
def learnt_by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    return learnt(tmp_path_factory.mktemp("one"), 1)


def learnt(folder: Path, ranks: int) -> dict[str, list[float]]:
    """What so many processes learn from data of awkward lengths: steps, weights and metrics by case."""
    started = start_ranks(folder, ranks, program=PROGRAMS / "train_remainders.py")
    ended = wait_for(started, time.monotonic())
    assert ended.good, ended.explain()
    lines = [re.findall(r"^learnt (\S+) (.*)$", output, re.M) for output in ended.outputs]
    assert all(each == lines[0] for each in lines)
    return {case: [float(value) for value in values.split()] for case, values in lines[0]}


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.full), 3, pytest.param(4, marks=pytest.mark.full)])
def test_any_last_batch_and_batches_smaller_than_the_world_teach_what_they_teach_one_process(
    ranks: int, learnt_by_one: dict[str, list[float]], tmp_path: Path
) -> None:
    more = learnt(tmp_path, ranks)
    assert list(more) == list(learnt_by_one) and len(more) == 14
    for case, values in learnt_by_one.items():
        assert more[case] == pytest.approx(values, abs=1e-4), case


def test_an_evaluation_by_several_processes_gives_the_very_numbers_of_one(straight: Path, tmp_path: Path) -> None:
    program = PROGRAMS / "evaluate_ranks.py"
    results = []
    for size in (1, 3):
        ended = wait_for(
            start_ranks(tmp_path / str(size), size, straight / "digits.pdparams", program=program), time.monotonic()
        )
        assert ended.good, ended.explain()
        results += [re.findall(r"^results (.*)$", output, re.M) for output in ended.outputs]
    assert results == [results[0]] * 4
    assert "samples=250" in results[0][0]


def test_an_epoch_has_the_same_order_and_no_sample_twice_whatever_the_number_of_processes() -> None:
    data = ImageArrays(np.arange(23, dtype=np.uint8).reshape(-1, 1, 1), np.arange(23, dtype=np.int64), num_classes=23)
    one = [batch[-1].numpy().ravel().tolist() for batch in Feed(data, batch_size=5, seed=3).remaining()]
    for size in (2, 3, 4, 7):
        shares = [list(Feed(data, batch_size=5, seed=3, rank=r, size=size).remaining()) for r in range(size)]
        for number, whole in enumerate(one):
            mine = [shares[rank][number] for rank in range(size)]
            assert [label for b in mine for label in b[-1].numpy().ravel().tolist()[: b.local_size]] == whole
            assert {b.global_size for b in mine} == {len(whole)} and all(len(b[0]) >= 1 for b in mine)


def test_a_batch_is_cut_into_as_few_even_pieces_as_fit() -> None:
    batch = Batch.of([paddle.arange(7)], 7, 20)
    assert [piece[0].tolist() for piece in batch.micro_batches(3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [piece.local_size for piece in batch.micro_batches(3)] == [2, 2, 3]
    assert list(batch.micro_batches(7)) == [batch]
    assert [share(5, rank, 3) for rank in range(3)] == [slice(0, 1), slice(1, 3), slice(3, 5)]


@pytest.mark.parametrize("how", [pytest.param("super", marks=pytest.mark.full), "right"])
def test_an_own_step_that_averages_the_gradients_learns_the_same(how: str, tmp_path: Path) -> None:
    options = ("--net", "plain", "--batch-size", 13, "--max-steps", 20, "--every-steps", 100)
    for folder, more in (("own", ("--own-step", how)), ("usual", ())):
        ended = run_ranks(tmp_path / folder, 2, *options, *more)
        assert ended.good, ended.explain()
    for name, value in weights(tmp_path / "usual").items():
        np.testing.assert_allclose(weights(tmp_path / "own")[name], value, rtol=0, atol=2e-5, err_msg=name)


def test_an_own_step_that_does_not_average_the_gradients_is_told(tmp_path: Path) -> None:
    ended = run_ranks(tmp_path, 2, "--own-step", "wrong")
    assert ended.statuses == [2, 2], ended.explain()
    assert "with 2 processes has to call self.average_gradients(optimizer, batch)" in ended.outputs[0]


@pytest.mark.full
def test_running_statistics_are_those_of_rank_0(tmp_path: Path) -> None:
    ended = run_ranks(tmp_path / "straight", 2, "--net", "batch-norm")
    assert ended.good, ended.explain()
    killed = run_ranks(tmp_path / "killed", 2, "--net", "batch-norm", "--doom", 1, 7, "kill", "step")
    go_on(tmp_path / "killed", tmp_path / "straight", killed, "--net", "batch-norm")


# ---------------------------------------------------------------- an interruption changes nothing

DEATHS = {
    "rank 1 in a step": (1, 7, "kill", "step"),
    "rank 0 in a step": (0, 7, "kill", "step"),
    "rank 1 in an evaluation": (1, 16, "kill", "evaluate"),
    "rank 1 in the collective save": (1, 9, "kill", "save"),
    "rank 0 in the collective save": (0, 9, "kill", "save"),
}


@pytest.mark.parametrize(
    "which",
    [pytest.param(w, marks=() if w == "rank 1 in a step" else pytest.mark.full) for w in DEATHS],
)
def test_a_killed_process_ends_the_others_and_the_run_goes_on_exactly(
    which: str, straight: Path, tmp_path: Path
) -> None:
    rank = DEATHS[which][0]
    ended = run_ranks(tmp_path / "killed", 2, "--doom", *DEATHS[which])
    assert ended.statuses[rank] == -signal.SIGKILL and ended.statuses[1 - rank] == 3, ended.explain()
    assert f"error: rank {rank}: it is gone without a word" in ended.outputs[1 - rank]
    go_on(tmp_path / "killed", straight, ended)


def test_all_processes_killed_at_once_while_saves_are_under_way(straight: Path, tmp_path: Path) -> None:
    for saved in ("digits_step3", "digits_step12"):
        began = time.monotonic()
        processes = start_ranks(tmp_path / "killed", 2, "--background")
        while not (tmp_path / "killed" / "checkpoint" / f"{saved}.pdstates").exists():
            assert time.monotonic() - began < 60 and processes[0].poll() is None
            time.sleep(0.005)
        for process in processes:
            process.kill()
        ended = wait_for(processes, began)
        assert not ended.good
    again = run_ranks(tmp_path / "killed", 2, "--background")
    assert again.good, again.explain() + ended.explain()
    assert first_differences(straight, tmp_path / "killed") == []


def test_a_signal_to_one_process_stops_all_at_one_step_which_is_saved(straight: Path, tmp_path: Path) -> None:
    ended = run_ranks(tmp_path / "killed", 2, "--doom", 1, 7, "term", "step", "--every-steps", 100)
    assert ended.statuses == [143, 143], ended.explain()
    stopped = re.search(r"Stopped after step (\d+)", ended.outputs[0])
    assert stopped and load(tmp_path / "killed" / "checkpoint" / f"digits_step{stopped[1]}").record.step == int(
        stopped[1]
    )
    assert run_ranks(tmp_path / "killed", 2, "--every-steps", 100).good
    assert weights(tmp_path / "killed").keys() == weights(straight).keys()
    for name, value in weights(straight).items():
        assert weights(tmp_path / "killed")[name].tobytes() == value.tobytes()


def forget_steps(folder: Path) -> None:
    """Take away what a resume compares the steps with that it makes again: the comparison of bits is to find it."""
    for kept in (folder / "checkpoint").glob(".digits.steps*"):
        kept.unlink()


@pytest.mark.full
def test_what_is_forgotten_of_other_ranks_shows(straight: Path, tmp_path: Path) -> None:
    """The negative control: without its own randomness rank 1 drops out other units than it would have."""
    assert not run_ranks(tmp_path / "killed", 2, "--doom", 1, 7, "kill", "step").good
    forget_steps(tmp_path / "killed")
    assert run_ranks(tmp_path / "killed", 2, "--forget-ranks").good
    if paddle.__version__.startswith("2."):
        pytest.skip("Paddle 2.6 seeds its generator for each step anew, so that there is nothing to forget")
    assert first_differences(straight, tmp_path / "killed")


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.full)])
def test_an_error_of_one_process_is_told_with_its_rank_and_ends_all(rank: int, tmp_path: Path) -> None:
    ended = run_ranks(tmp_path, 2, "--doom", rank, 5, "fail", "step")
    assert ended.statuses == ([1, 3] if rank == 0 else [3, 1]), ended.explain()
    assert f"error: rank {rank}: OSError: the disk of this node is gone" in ended.outputs[1 - rank]
    assert ended.seconds < SECONDS_TO_END + 10


def test_a_process_that_hangs_is_named_after_the_timeout(tmp_path: Path) -> None:
    began = time.monotonic()
    processes = start_ranks(tmp_path, 2, "--doom", 1, 5, "stop", "boundary", "--timeout", 3)
    ended = wait_for(processes[:1], began)
    processes[1].kill()
    wait_for(processes[1:], began)
    assert ended.statuses == [3], ended.explain()
    assert "error: rank 0: rank 1 has not come to where the others wait for 3 s: it hangs" in ended.outputs[0]


def test_processes_that_were_started_differently_do_not_start(tmp_path: Path) -> None:
    ended = run_ranks(tmp_path, 2, "--differ", 1)
    assert ended.statuses == [2, 2], ended.explain()
    assert "error: rank 1: started differently than rank 0: data seed: 7 -> 8" in ended.outputs[0]
    assert not (tmp_path / "checkpoint").exists() or not list((tmp_path / "checkpoint").glob("*.pdstates"))


def test_a_full_disk_is_an_error_of_all(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(880 << 10))
    ended = run_ranks(small_disk, 2, "--max-steps", 6)
    assert ended.statuses == [2, 2], ended.explain()
    assert all("error: Could not save checkpoint/digits_step6: No space left" in output for output in ended.outputs)


def test_processes_that_do_not_come_together_say_why(tmp_path: Path) -> None:
    program = PROGRAMS / "join_ranks.py"
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        began = time.monotonic()
        lonely = start_ranks(tmp_path, 3, program=program, absent=1)
        no_port = start_ranks(tmp_path, 2, program=program, master=port)
        first, third = (wait_for([process], began) for process in lonely)
        assert "error: 3 processes are to train together" in first.outputs[0] and first.statuses == [2]
        assert "rank 1 did not come within 2 s. Start all of them with" in first.outputs[0]
        assert "error: rank 0 could not be reached" in third.outputs[0] and third.statuses == [2]
        first, second = (wait_for([process], began) for process in no_port)
        assert (
            f"error: Port {port} of PADDLE_MASTER, on which the processes of this run meet, is taken"
            in first.outputs[0]
        )
        assert first.statuses == second.statuses == [2]


# ---------------------------------------------------------------- another number of processes


@pytest.mark.parametrize(
    ("before", "after"),
    [(2, 1), pytest.param(1, 2, marks=pytest.mark.full), pytest.param(2, 3, marks=pytest.mark.full)],
    ids=["2 to 1", "1 to 2", "2 to 3"],
)
def test_another_number_of_processes_is_refused_or_goes_on_inexactly(before: int, after: int, tmp_path: Path) -> None:
    plain = ("--net", "plain")
    straight, changed = tmp_path / "straight", tmp_path / "changed"
    assert run_ranks(straight, before, *plain).good
    assert run_ranks(changed, before, *plain, "--doom", 0, 7, "term", "step").statuses[0] == 143
    refused = run_ranks(changed, after, *plain)
    assert refused.statuses == [2] * after
    assert f"environment world_size: {before} -> {after}" in refused.outputs[0]
    ended = run_ranks(changed, after, *plain, "--allow-inexact")
    assert ended.good, ended.explain()
    for name, value in weights(straight).items():
        np.testing.assert_allclose(weights(changed)[name], value, rtol=0, atol=2e-5, err_msg=name)
    record = load(changed / "checkpoint" / "digits_epoch1").record
    assert record.lineage[-1]["differences"] == [f"environment world_size: {before} -> {after}"] and not record.exact
    # Where one takes over the work of two, it takes its share in pieces as large as theirs were.
    assert record.owners["update"]["micro_batch_size"] == (16 if before == 1 else 8)


# ---------------------------------------------------------------- state that is found in each process


def test_what_is_found_in_each_process_is_its_own(tmp_path: Path) -> None:
    ended = run_ranks(tmp_path / "straight", 2, "--drawing")
    assert ended.good, ended.explain()
    ended = run_ranks(tmp_path / "killed", 2, "--drawing", "--doom", 1, 11, "kill", "step")
    shutil.copytree(tmp_path / "killed", tmp_path / "forgetful")
    go_on(tmp_path / "killed", tmp_path / "straight", ended, "--drawing")
    found = load(tmp_path / "killed" / "checkpoint" / "digits_epoch1")
    assert list(found.tensors[".pdfound"])[:2] == ["callback.Drawing.sums", "callback.Drawing.sums@1"]
    forget_steps(tmp_path / "forgetful")
    assert run_ranks(tmp_path / "forgetful", 2, "--drawing", "--forget-found").good
    assert first_differences(tmp_path / "straight", tmp_path / "forgetful")


# ---------------------------------------------------------------- Paddle's launcher


def test_the_launcher_trains_the_config_and_its_sigterm_stops_and_saves(tiny_mnist: Path, tmp_path: Path) -> None:
    train, command = ROOT / "tools" / "train.py", ["-c", CONFIGS / "mnist.yaml", "-o", f"data.root={tiny_mnist}"]
    command += ["-o", "data.valid=10", "-o", "data.global_batch_size=10", "-o", "trainer.log_every=5"]
    command += ["-o", "trainer.epochs=10"]  # So that it does not end before the signal comes.
    ended = wait_for(start_ranks(tmp_path / "straight", 2, *command, program=train), time.monotonic())
    assert ended.good, ended.explain()
    for stop in (True, False):
        process = launch(tmp_path / "stopped", train, *command)
        said = tmp_path / "stopped" / "worker_log" / "workerlog.0"
        if stop:
            # Paddle's launcher shows the output of rank 0 only every few seconds, and none once it has the signal.
            while "[valid] epoch: 0" not in (said.read_text() if said.exists() else ""):
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGTERM)
        output = process.communicate(timeout=120)[0]
        if stop:
            assert "Stopped after step" in said.read_text(), output + said.read_text()
        else:
            assert process.returncode == 0, output
            assert "2, which share each batch of 10: 5 samples each" in output
    # But for the checkpoint of the interruption itself.
    differences = first_differences(tmp_path / "straight", tmp_path / "stopped")
    assert [line for line in differences if "only in the killed run" not in line] == []


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    with joined_namespaces() as names:
        yield names


@pytest.mark.full
def test_two_hosts_with_addresses_of_their_own_go_on_exactly(
    two_hosts: tuple[str, str], straight: Path, tmp_path: Path
) -> None:
    def node(number: int, *options: object) -> Any:
        return launch_node(two_hosts, number, tmp_path / "run", PROGRAM, *options)

    killed = [node(number, "--doom", 1, 7, "kill", "step") for number in (0, 1)]
    assert all(each.communicate(timeout=120)[0] is not None and each.returncode for each in killed)
    assert "rank 1: it is gone without a word" in next((tmp_path / "run" / "node0").glob("*workerlog.0")).read_text()
    again = [node(number) for number in (0, 1)]
    assert [each.communicate(timeout=120)[0] and each.returncode for each in again] == [0, 0]
    assert first_differences(straight, tmp_path / "run") == []


@pytest.mark.full
def test_two_nodes_of_which_one_dies_go_on_exactly(straight: Path, tmp_path: Path) -> None:
    def node(number: int, port: int, *options: object) -> Any:
        launcher = ("--nnodes", "2", "--nproc_per_node", "1", "--rank", str(number), "--master", f"127.0.0.1:{port}")
        folder = tmp_path / "run"
        return launch(folder, PROGRAM, *options, launcher=(*launcher, "--log_dir", f"node{number}"))

    doom = ("--doom", 1, 7, "stop", "boundary")
    nodes = [node(number, 61234, *doom) for number in (0, 1)]
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run" / "checkpoint").glob("digits_step6.pdstates")):
            assert time.monotonic() < deadline, "the nodes do not train"
            time.sleep(0.2)
        for victim in psutil.Process(nodes[1].pid).children(recursive=True):
            victim.kill()  # stopped processes too
        nodes[1].kill()
        began = time.monotonic()
        assert nodes[0].wait(60) != 0 and time.monotonic() - began < SECONDS_TO_END
    finally:
        for each in nodes:
            each.kill()
    said = next((tmp_path / "run" / "node0").glob("*workerlog.0")).read_text()
    assert "rank 1: it is gone without a word" in said
    again = [node(number, 61235) for number in (0, 1)]
    assert [each.communicate(timeout=120)[0] and each.returncode for each in again] == [0, 0]
    assert first_differences(straight, tmp_path / "run") == []
