"""Programs that know nothing of this package, one for each shape of a loop, killed and stopped in the middle."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

import forking
import paddle
import pytest
from wrapping import PROGRAMS, differences, held, straight, through, variables, wrap, wrap_anew

from paddle_resume.checkpoint.record import decode, encode
from paddle_resume.loggers.visualdl import read_scalars

pytestmark = pytest.mark.skipif(
    paddle.__version__.startswith("2."), reason="Paddle 2.6 does not give its CPU generator away"
)

COMPREHENSION = "`[train_epoch(loader)" if sys.version_info >= (3, 12) else "a listcomp asks for the batches"
SHAPES = ["top_level", "in_function", "in_method", "nested"]


@pytest.mark.pythons
@pytest.mark.parametrize("shape", SHAPES)
def test_all_outputs_of_a_killed_program_are_those_of_a_straight_one(shape: str, tmp_path: Path) -> None:
    interrupted = through(tmp_path, shape, "5:SIGKILL", "11:SIGTERM")
    assert differences(straight(tmp_path, shape), interrupted) == []


def test_a_killed_program_goes_on_from_memory(tmp_path: Path) -> None:
    """The checkpoints on disk come every third batch; in memory each is."""
    every = {"PADDLE_RESUME_MEMORY": "1"}
    killed = wrap(tmp_path, "nested", DIE="2:SIGKILL", **every)
    assert killed.returncode == -9
    again = wrap(tmp_path, "nested", DIE="8:SIGKILL", **every)
    assert "Resumed from memory (before any checkpoint on disk)" in again.stderr
    assert wrap(tmp_path, "nested", **every).returncode == 0
    assert differences(straight(tmp_path, "nested"), tmp_path / "wrapped") == []


ANEW = [
    ("loop", "0"),
    pytest.param("own_sampler", "2", marks=pytest.mark.full),
    pytest.param("function", "2", marks=pytest.mark.full),
    pytest.param("other_data", "0", marks=pytest.mark.full),
    pytest.param("stream", "0", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("way", "workers"), ANEW)
def test_a_loader_that_is_made_anew_in_each_epoch_goes_on(way: str, workers: str, tmp_path: Path) -> None:
    whole = straight(tmp_path, "anew", way, WORKERS=workers)
    interrupted = through(tmp_path, "anew", "6:SIGTERM", "10:SIGTERM", arguments=[way], WORKERS=workers)
    assert differences(whole, interrupted) == []
    assert "From here on" not in (tmp_path / "told.txt").read_text()


@pytest.mark.full
@pytest.mark.parametrize("way", ["loop", "function", "other_data", "own_sampler"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_so_it_does_after_any_batch(way: str, workers: str, tmp_path: Path) -> None:
    whole = straight(tmp_path, "anew", way, WORKERS=workers)
    for step in range(3, 12):
        folder = tmp_path / str(step)
        folder.mkdir()
        interrupted = through(folder, "anew", f"{step}:SIGTERM", arguments=[way], WORKERS=workers)
        assert differences(whole, interrupted) == []


def test_what_cannot_be_saved_later_on_is_told_and_ends_nobodys_training(tmp_path: Path) -> None:
    whole = straight(tmp_path, "anew", "own_generator")
    assert wrap(tmp_path, "anew", "own_generator", DIE="3:SIGTERM").returncode == 143
    killed = wrap(tmp_path, "anew", "own_generator", DIE="9:SIGKILL")
    assert killed.returncode == -9 and "From here on nothing is saved" in killed.stderr
    stopped = wrap(tmp_path, "anew", "own_generator", DIE="10:SIGTERM")
    assert stopped.returncode == 143 and "That step could not be saved" in stopped.stderr
    assert "Resumed from" in stopped.stderr
    assert wrap(tmp_path, "anew", "own_generator").returncode == 0
    assert differences(whole, tmp_path / "wrapped") == []


def test_what_functions_keep_elsewhere_goes_on(tmp_path: Path) -> None:
    whole = straight(tmp_path, "by_name")
    interrupted = through(tmp_path, "by_name", "3:SIGTERM", "7:SIGKILL")
    assert differences(whole, interrupted) == []


# An epoch has four batches, and a save comes with every third. Killed after the fifth, a life has begun its files since
# the save: they are not there again. After the ninth, what a program reads of them at its start is not what it read at
# the first, and may have been saved in a life in which it had not moved.
READ_BACK = {
    "begun": ["5:SIGKILL"],
    "moved": ["9:SIGKILL"],
    "unmoved": ["5:SIGTERM", "9:SIGKILL"],
    "thrice": ["5:SIGKILL", "7:SIGTERM", "9:SIGKILL"],
}


@pytest.mark.parametrize("interruptions", READ_BACK.values(), ids=READ_BACK)
def test_what_a_program_reads_of_its_own_files_is_put_back(interruptions: list[str], tmp_path: Path) -> None:
    assert differences(straight(tmp_path, "reading"), through(tmp_path, "reading", *interruptions)) == []


def test_so_it_would_not_be_if_only_what_has_moved_were_saved(tmp_path: Path) -> None:
    """The control: this module of the package is put in its place for the program and what it starts."""
    (tmp_path / "sitecustomize.py").write_text(
        "from paddle_resume.found_state.walker import Walker\n"
        "from paddle_resume.found_state.owners import FoundState\n"
        "Walker.save_whole = lambda walker: None\n"
        "FoundState.differences = lambda found, state: []\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{Path(forking.__file__).parents[2]}"}
    assert wrap_anew(tmp_path, "reading", DIE="9:SIGKILL", **path).returncode == -9
    assert wrap_anew(tmp_path, "reading", **path).returncode == 0
    assert "noise.npy" in differences(straight(tmp_path, "reading"), tmp_path / "wrapped")


def test_what_begins_otherwise_and_is_too_large_to_be_saved_for_that_stops_a_resume(tmp_path: Path) -> None:
    assert wrap(tmp_path, "reading", "large", DIE="9:SIGKILL").returncode == -9
    refused = wrap(tmp_path, "reading", "large")
    assert refused.returncode == 2 and "would not continue bit for bit" in refused.stderr, refused.stderr
    assert re.search(r"noise: xxh3 \w+ -> xxh3 \w+", refused.stderr), refused.stderr
    inexact = wrap(tmp_path, "reading", "large", options=("--allow-inexact",))
    assert inexact.returncode == 0 and "Goes on, inexact: __main__:<module>.noise" in inexact.stderr, inexact.stderr


def test_batches_that_are_taken_at_once_before_the_training_are_taken_again(tmp_path: Path) -> None:
    whole = straight(tmp_path, "at_once")
    assert differences(whole, through(tmp_path, "at_once", "3:SIGTERM", "7:SIGKILL")) == []


def test_batches_that_are_taken_at_once_in_a_loop_are_refused(tmp_path: Path) -> None:
    done = wrap(tmp_path, "at_once", "in the loop")
    assert done.returncode == 2 and "takes all batches at once" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_saved_where_a_place_is_not_seen(tmp_path: Path) -> None:
    """The second loader of each turn: a resume makes again what comes after the last batch of the first one."""
    interrupted = through(tmp_path, "by_map", "6:SIGKILL", "13:SIGKILL")
    assert differences(straight(tmp_path, "by_map"), interrupted) == []


BY_DEFAULT = ("map_of_steps", "zip", "dict")
ITERATORS = ["map_of_epochs", "map_of_steps", "zip", "zip_that_asks_last", "zip_of_enumerate", "dict", "stream", "bar"]


@pytest.mark.parametrize(
    "through_what", [pytest.param(each, marks=() if each in BY_DEFAULT else pytest.mark.full) for each in ITERATORS]
)
def test_a_loop_through_any_iterator_goes_on_within_its_second_pass(through_what: str, tmp_path: Path) -> None:
    if through_what == "bar":
        pytest.importorskip("tqdm")
    whole = straight(tmp_path, "by_iterators", through_what)
    assert (
        differences(whole, through(tmp_path, "by_iterators", "3:SIGTERM", "7:SIGTERM", arguments=[through_what])) == []
    )


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_program_may_be_interrupted_after_any_batch(shape: str, workers: str, tmp_path: Path) -> None:
    whole = straight(tmp_path, shape, WORKERS=workers)
    for step in range(4, 12):  # The first save is that of the third one, and may not be durable before the fourth.
        folder = tmp_path / str(step)
        folder.mkdir()
        signal = ("SIGKILL", "SIGTERM", "SIGINT")[step % 3]
        assert differences(whole, through(folder, shape, f"{step}:{signal}", WORKERS=workers)) == []


@pytest.mark.parametrize("data", ["map", "stream"])
@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.full)])
def test_what_data_keep_in_themselves_their_class_and_their_module_goes_on(
    data: str, workers: str, tmp_path: Path
) -> None:
    whole = straight(tmp_path, "keeping", data, WORKERS=workers)
    interrupted = through(
        tmp_path, "keeping", "3:SIGKILL", "7:SIGTERM", "10:SIGKILL", arguments=[data], WORKERS=workers
    )
    assert differences(whole, interrupted) == []


def test_data_of_workers_are_made_again(tmp_path: Path) -> None:
    interrupted = through(tmp_path, "top_level", "7:SIGKILL", WORKERS="2")
    assert differences(straight(tmp_path, "top_level", WORKERS="2"), interrupted) == []


@pytest.mark.parametrize("lost", ["found", "outputs", "rng"])
def test_a_checkpoint_that_lacks_something_does_not_lead_to_the_same_outputs(lost: str, tmp_path: Path) -> None:
    """The control of the tests above: what they compare would show it."""
    assert wrap(tmp_path, "in_function", DIE="5:SIGTERM").returncode == 143
    path = max((tmp_path / "checkpoint").glob("*.pdstates"), key=lambda each: each.stat().st_mtime_ns)
    record = decode(path.read_bytes())
    owners = {name: state for name, state in record.owners.items() if name != lost}
    path.write_bytes(encode(record.model_copy(update={"owners": owners})))
    done = wrap(tmp_path, "in_function")
    assert done.returncode == 2 and lost in done.stderr
    wrap(tmp_path, "in_function", options=("--allow-inexact",))
    assert differences(straight(tmp_path, "in_function"), tmp_path / "wrapped") != []


def test_a_run_is_moved_with_its_logs(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert wrap(tmp_path / "here", "nested", DIE="7:SIGTERM").returncode == 143
    (tmp_path / "here").rename(tmp_path / "there")
    done = wrap(tmp_path / "there", "nested")
    assert done.returncode == 0 and "Resumed from" in done.stderr, done.stderr
    assert differences(straight(tmp_path, "nested"), tmp_path / "there" / "wrapped") == []


def test_a_run_that_is_complete_says_so_and_trains_nothing(tmp_path: Path) -> None:
    whole = through(tmp_path, "nested")
    shutil.rmtree(whole)
    done = wrap(tmp_path, "nested")
    assert done.returncode == 0 and "This run is complete (16 batches)" in done.stderr
    assert not whole.exists()


def test_another_command_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    assert wrap(tmp_path, "in_method", DIE="5:SIGTERM").returncode == 143
    done = wrap(tmp_path, "in_method", "2")
    assert done.returncode == 2
    assert "the command" in done.stderr and "in_method.py 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_complete_run_is_not_taken_for_that_of_another_command(tmp_path: Path) -> None:
    through(tmp_path, "in_method")
    done = wrap(tmp_path, "in_method", "4")
    assert done.returncode == 2 and "is complete, and differs from this one" in done.stderr


def test_a_program_of_no_known_suite_is_not_taken_unasked(tmp_path: Path) -> None:
    command = ["-m", "paddle_resume.wrap", "--", PROGRAMS / "nested.py"]
    done = forking.run(command, tmp_path, **variables(OUT="wrapped"))
    assert done.returncode == 0 and "give --auto" in done.stderr
    assert not list(tmp_path.rglob("*.pdparams")) or (tmp_path / "wrapped").exists()
    assert not list((tmp_path / "checkpoint").glob("*.pdstates"))


@pytest.mark.pythons
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("by_generator", "the generator batches asks for the batches"),
        ("by_comprehension", COMPREHENSION),
        ("by_set", "goes through a set_iterator"),
        ("holding", "holds the value of `total`"),
        ("parked", "moved by an optimizer Adam, to which no variable"),
        ("by_fit", "Give it the callback ExactResume"),
    ],
)
def test_what_no_process_could_be_brought_to_is_refused(program: str, reason: str, tmp_path: Path) -> None:
    done = wrap(tmp_path, program)
    assert done.returncode == 2
    line = next(line for line in done.stderr.splitlines() if "error:" in line)
    assert reason in line and ("line" in line or program == "by_fit")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("named_by", ["VisualDL", "itself"])
def test_a_writer_without_a_folder_goes_on_in_that_of_its_first_process(named_by: str, tmp_path: Path) -> None:
    assert wrap(tmp_path, "unnamed_log", named_by, DIE="5:SIGTERM").returncode == 143
    time.sleep(1.1)  # Such a folder is called by the second.
    assert wrap(tmp_path, "unnamed_log", named_by).returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    (log,) = folder.glob("vdlrecords*")
    assert [step for step, _, _ in read_scalars(log)["loss"]] == [*range(1, 13)]


def test_two_runs_do_not_write_to_the_same_checkpoints_or_logs(tmp_path: Path) -> None:
    with held(tmp_path, "in_method") as first:
        same = wrap(tmp_path, "in_method")
        assert same.returncode == 2 and "Another process already writes this run" in same.stderr
        logs = wrap(tmp_path, "in_method", options=("--save-dir", "others"))
        assert logs.returncode == 2 and "is being written by another wrapped run" in logs.stderr
        assert first.poll() is None
    curves = wrap(tmp_path, "in_method", options=("--save-dir", "others"))
    assert curves.returncode == 2 and "is that of the run whose checkpoints are" in curves.stderr
    for refused in (same, logs, curves):
        assert "Traceback" not in refused.stderr
    assert wrap(tmp_path, "in_method").returncode == 0


def test_files_are_whole_whenever_a_program_dies(tmp_path: Path) -> None:
    assert wrap(tmp_path, "in_method", DIE="5:SIGKILL").returncode == -9
    for path in (tmp_path / "wrapped").glob("*.pdparams"):
        assert paddle.load(str(path))
    assert not list((tmp_path / "wrapped").rglob("*.tmp"))


def test_the_checkpoints_are_those_that_all_commands_know(tmp_path: Path) -> None:
    through(tmp_path, "in_method")
    listed = forking.run(["-m", "paddle_resume", "list", "checkpoint", "--verify"], tmp_path)
    assert listed.returncode == 0 and "in_method_step12" in listed.stdout
    weights = paddle.load(str(tmp_path / "checkpoint" / "in_method_step12.pdparams"))
    last = paddle.load(str(tmp_path / "wrapped" / "epoch_2.pdparams"))
    assert {name: weights[name].numpy().tobytes() for name in last} == {
        name: value.numpy().tobytes() for name, value in last.items()
    }
