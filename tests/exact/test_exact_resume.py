"""The exactness matrix: each row is run straight and killed by SIGKILL, and everything it leaves is compared."""

import contextlib
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from forking import assert_exact_resume, run_life, servers
from places import PROGRAMS

from paddle_resume.errors import CheckpointError
from paddle_resume.owners.model import ParameterNames
from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_digits.py")
# The run has 2 epochs of 8 steps, saves every 3 steps and logs every 2: steps 4 and 11 lie between all of these.
IN_EACH_EPOCH = [Kill("step", 4), Kill("step", 11)]

ROWS = {
    "the two-convolution net": ["--model", "MNIST"],
    "LeNet": ["--model", "LeNet"],
    "an MLP with dropout": ["--dropout", "0.3"],
    "no shuffling": ["--no-shuffle"],
    "a callback with a count, drawing random numbers": ["--noise"],
    "two networks and two optimizers in an overridden step": ["--two-nets"],
    "a buffer that is in no state_dict": ["--model", "Counting"],
    "a stream that is replayed": ["--data", "stream"],
    "a stream that saves its position": ["--data", "stateful-stream"],
}


# What these show another row shows too.
AGAIN = ("LeNet", "no shuffling", "an MLP with dropout", "a stream that is replayed")


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.full if row in AGAIN else ()) for row in ROWS])
def test_a_killed_run_ends_as_if_untouched(row, tmp_path):
    assert_exact_resume([PROGRAM, *ROWS[row]], tmp_path, IN_EACH_EPOCH)


def test_kills_of_every_kind_in_one_run_change_nothing(tmp_path):
    kills = [Kill("step", 1), Kill("save", 2, 6), Kill("start"), Kill("orphan", 4, 3), Kill("epoch")]
    assert_exact_resume(
        [PROGRAM, "--dropout", "0.3"], tmp_path, [*kills, Kill("evaluate", 9, 2), Kill("time", count=500)]
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(0, 2, marks=pytest.mark.full),
        (2, 3),
        pytest.param(3, 0, marks=pytest.mark.full),
    ],
)
def test_augmented_data_does_not_depend_on_the_workers_before_or_after_a_kill(before, after, tmp_path):
    program = [PROGRAM, "--data", "augmented", "--workers"]
    assert_exact_resume([*program, str(before)], tmp_path, [Kill("step", 11)], resumed=[*program, str(after)])


def test_data_workers_do_not_outlive_a_killed_trainer(tmp_path):
    folder = tmp_path / "killed"

    def in_the_folder():
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                found += [process] if process.cwd() == str(folder) else []
        return found

    def start(*arguments):
        process, end = servers()(*arguments), time.monotonic() + 60
        while len(in_the_folder()) < 3:  # the trainer and its workers; the writer, too, in a while
            assert time.monotonic() < end and process.poll() is None
        return process

    program = [PROGRAM, "--data", "augmented", "--workers", "2", "--pause", "0.2"]
    assert not run_life(program, folder, Plan(str(tmp_path / "report"), Kill("step", 4)), timeout=300, start=start)
    end = time.monotonic() + 10
    while survivors := in_the_folder():
        assert time.monotonic() < end, survivors
        time.sleep(0.05)


# ---------------------------------------------------------------- negative controls

# What the proof must say when the restore of one owner is left out.
CONTROLS = {
    "rng": "rng.",
    "optimizer": "tensor linear_0.w_0_moment1_0 of .pdopt differs",
    "scheduler": "scheduler.state.last_lr",
    "data": "data.samples",
    "model": "tensor hidden.weight of .pdparams differs",
    "metrics": "metrics.",
    "progress": "progress.step",
    "log.VisualDLLogger": "log.VisualDLLogger.offset",
    "log.JsonlLogger": "log.JsonlLogger.offset",
    "callback.Noise": "callback.Noise.steps",
}


@pytest.fixture(scope="module")
def killed_between_saves(tmp_path_factory):
    """A straight run, and one killed in step 5 with a save at step 3 and a log record at step 4 behind it."""
    folder = tmp_path_factory.mktemp("controls")
    # Saved inline: a save that is still under way behind training dies with it, and step 3 has to be there.
    program = [PROGRAM, "--dropout", "0.3", "--noise", "--inline"]
    report = str(folder / "report")
    assert run_life(program, folder / "straight", Plan(report), timeout=300)
    assert not run_life(program, folder / "killed", Plan(report, Kill("step", 5)), timeout=300)
    return folder, program


@pytest.mark.parametrize("owner", CONTROLS)
def test_the_proof_fails_and_names_it_when_an_owner_is_not_restored(owner, killed_between_saves, tmp_path):
    folder, program = killed_between_saves
    shutil.copytree(folder / "killed", tmp_path / "killed")
    report = tmp_path / "report"
    assert run_life(program, tmp_path / "killed", Plan(str(report), None, [owner]), timeout=300)
    assert report.read_text().startswith(f"after the restore, {CONTROLS[owner]}")
    assert first_differences(folder / "straight", tmp_path / "killed")


def test_the_proof_fails_when_a_buffer_outside_the_state_dict_is_not_restored(tmp_path):
    program, report = [PROGRAM, "--model", "Counting", "--inline"], tmp_path / "report"
    assert run_life(program, tmp_path / "straight", Plan(str(report)), timeout=300)
    assert not run_life(program, tmp_path / "killed", Plan(str(report), Kill("step", 5)), timeout=300)
    assert run_life(program, tmp_path / "killed", Plan(str(report), None, ["buffers"]), timeout=300)
    assert report.read_text().startswith("after the restore, tensor count of .pdbuffers differs")
    assert first_differences(tmp_path / "straight", tmp_path / "killed")


def test_the_control_itself_passes_when_nothing_is_left_out(killed_between_saves, tmp_path):
    folder, program = killed_between_saves
    shutil.copytree(folder / "killed", tmp_path / "killed")
    assert run_life(program, tmp_path / "killed", Plan(str(tmp_path / "report")), timeout=300)
    assert not (tmp_path / "report").exists()
    assert first_differences(folder / "straight", tmp_path / "killed") == []


# ---------------------------------------------------------------- every position, and the same process


@pytest.fixture
def digits_program(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(PROGRAM).parent))
    sys.modules.pop("train_digits", None)
    import train_digits

    return train_digits


@pytest.mark.parametrize("steps", [(5, 8), pytest.param((1, 2, 3, 4, 6, 7), marks=pytest.mark.full)])
def test_resuming_at_every_step_of_an_epoch_in_the_same_process_is_exact(digits_program, steps, tmp_path, monkeypatch):
    options = ["--dropout", "0.3", "--every-steps", "1", "--keep", "99"]
    straight = tmp_path / "straight"
    straight.mkdir()
    monkeypatch.chdir(straight)
    digits_program.main(options)
    for step in steps:
        again = tmp_path / f"from{step}"
        shutil.copytree(straight, again)
        monkeypatch.chdir(again)
        # A second model in one process has other parameter names: the tutorial's second cell, which crashes there.
        digits_program.main([*options, "--resume", f"checkpoint/digits_step{step}"])
        assert first_differences(straight, again) == [], f"resumed at step {step}"


def test_the_proof_fails_when_a_second_model_in_one_process_forgets_the_names(digits_program, tmp_path, monkeypatch):
    straight, again = tmp_path / "straight", tmp_path / "again"
    straight.mkdir()
    monkeypatch.chdir(straight)
    digits_program.main([])
    shutil.copytree(straight, again)
    monkeypatch.chdir(again)
    monkeypatch.setattr(ParameterNames, "set_state_dict", lambda names, state: None)
    with pytest.raises(
        CheckpointError, match=r"does not fit the optimizer Adam: linear_\d+.w_0_moment1_0 .no such parameter"
    ):
        digits_program.main(["--resume", "checkpoint/digits_epoch0"])


def test_a_stream_that_forgets_its_position_is_found_out(digits_program, tmp_path, monkeypatch):
    options = ["--data", "stateful-stream"]
    straight, again = tmp_path / "straight", tmp_path / "again"
    straight.mkdir()
    monkeypatch.chdir(straight)
    digits_program.main(options)
    shutil.copytree(straight, again)
    monkeypatch.chdir(again)
    monkeypatch.setattr(digits_program.StatefulStream, "set_state_dict", lambda stream, state: None)
    digits_program.main([*options, "--resume", "checkpoint/digits_step15"])
    assert "tensor hidden.weight of .pdparams differs" in "\n".join(first_differences(straight, again))


def test_a_new_seed_is_a_difference_that_the_comparison_finds(digits_program, tmp_path, monkeypatch):
    for name, seed in (("straight", 7), ("other", 8)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr(digits_program.paddle_resume, "seed_everything", _seeding(seed))
        digits_program.main([])
    found = "\n".join(first_differences(tmp_path / "straight", tmp_path / "other"))
    assert "tensor hidden.weight of .pdparams differs" in found
    assert "VisualDL train/loss, record 0" in found
    assert "record 0, train/loss" in found


def _seeding(seed):
    from paddle_resume.rng import seed_everything

    return lambda _: seed_everything(seed)
