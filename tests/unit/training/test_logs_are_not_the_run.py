"""Logs that are moved, deleted, read-only or another's stop no run; places that cannot be written are found at once."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_run import train, trainer, weights

from paddle_resume import Callback, environment
from paddle_resume.checkpoint.reader import load
from paddle_resume.errors import CheckpointError, SaveError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger, read_records, read_scalars
from paddle_resume.loggers.visualdl import read_values

NOBODY = 65534


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_run_goes_on_exactly_without_its_logs_and_its_lineage_tells(how: str, tmp_path: Path) -> None:
    straight = train(trainer(tmp_path / "straight"), epochs=3)
    whole = read_records(tmp_path / "straight" / "metrics.jsonl")
    train(trainer(tmp_path / "run"), epochs=2)
    log = tmp_path / "run" / "metrics.jsonl"
    known = read_records(log)
    log.rename(tmp_path / "moved.jsonl") if how == "moved" else log.unlink()
    again = train(trainer(tmp_path / "run"), epochs=3)
    assert weights(again) == weights(straight)
    assert [line for line in again.told if "it was begun anew, with the last values" in line]
    record = load(tmp_path / "run" / "checkpoint" / "model_epoch2").record
    (lost,) = [event["logs"] for event in record.lineage if "logs" in event]
    assert record.exact and "no file" in lost[0]
    records = read_records(log)
    made = [each for each in whole if each not in known]  # After the second epoch the two are one again.
    assert records[-len(made) :] == made
    last = {tag: value for each in known for tag, value in each.items() if tag.startswith("train/")}
    assert last.items() <= {tag: value for each in records for tag, value in each.items()}.items() or made


def test_a_run_whose_logs_have_another_folder_goes_on_there(tmp_path: Path) -> None:
    straight = train(trainer(tmp_path / "straight"), epochs=3)
    train(trainer(tmp_path / "run"), epochs=2)
    old = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    again = train(trainer(tmp_path / "run", logger=JsonlLogger(tmp_path / "elsewhere")), epochs=3)
    assert weights(again) == weights(straight)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == old
    assert read_records(tmp_path / "elsewhere" / "metrics.jsonl")


class Nested(Callback):
    """Trains another run while one is under way, whose log lies in the same folder."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder, self._logs = folder, logs
        self.refused = ""

    def on_epoch_begin(self, run: Any) -> None:
        if not self.refused:
            try:
                train(trainer(self._folder, logger=JsonlLogger(self._logs)))
            except CheckpointError as error:
                self.refused = str(error)


@pytest.mark.parametrize("linked", [False, True])
def test_two_trainers_of_one_process_never_write_one_log(linked: bool, tmp_path: Path) -> None:
    logs, other = tmp_path / "logs", tmp_path / "logs"
    logs.mkdir()
    if linked:
        other = tmp_path / "link"
        other.symlink_to(logs)
    straight = train(trainer(tmp_path / "straight"))
    nested = Nested(tmp_path / "other", other)
    made = train(trainer(tmp_path / "one", logger=JsonlLogger(logs), callbacks=[nested]))
    assert "is being written by another trainer in this process" in nested.refused
    assert weights(made) == weights(straight)
    assert read_records(logs / "metrics.jsonl") == read_records(tmp_path / "straight" / "metrics.jsonl")
    again = trainer(tmp_path / "one", logger=JsonlLogger(other), callbacks=[Nested(tmp_path / "none", other)])
    train(again, epochs=4)  # It was let go of, and is the same run's by any path.


HOLD = """
import sys, pathlib
from paddle_resume.loggers.log_claim import LogClaim
claim = LogClaim(pathlib.Path(sys.argv[1]) / 'metrics.jsonl')
claim.take(pathlib.Path('other'))
print('held', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("linked", [False, True])
def test_two_processes_never_write_one_log(linked: bool, tmp_path: Path) -> None:
    logs, other = tmp_path / "logs", tmp_path / "logs"
    logs.mkdir()
    if linked:
        other = tmp_path / "link"
        other.symlink_to(logs)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match="is being written by another process"):
            train(trainer(tmp_path / "one", logger=JsonlLogger(logs)))
    finally:
        holder.communicate("")
    train(trainer(tmp_path / "one", logger=JsonlLogger(logs)))


@pytest.mark.parametrize("which", ["log", "model"])
@pytest.mark.parametrize("what", ["read-only", "full"])
def test_a_place_that_cannot_be_written_is_found_before_the_first_step(
    what: str, which: str, tmp_path: Path, small_disk: Path
) -> None:
    if what == "full":
        with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    places: dict[str, Any] = {
        "log": {"logger": VisualDLLogger(small_disk / "log", "model")},
        "model": {},
    }
    made = trainer(tmp_path, **places[which])
    if which == "model":
        made._parts.model_path = small_disk / "model.pdparams"
    with pytest.raises(SaveError, match={"log": r"Trainer\(log_dir=\)", "model": r"Trainer\(model_path=\)"}[which]):
        train(made)
    assert made.step == 0 and not list(tmp_path.rglob("*.pdparams"))


def as_nobody(folder: Path) -> None:
    """What a person does who may not write where it is forbidden, unlike root."""
    log = JsonlLogger(folder / "log")
    log.log_scalars({"train/loss": 0.5}, 1)
    log.prepare_save()
    state = log.state_dict()
    log.log_scalars({"train/loss": 0.25}, 2)
    log.close()
    log.path.chmod(0o444)
    again = JsonlLogger(folder / "log")
    again.require_writable()
    again.set_state_dict(state)
    again.log_scalars({"train/loss": 0.125}, 2)
    again.close()
    assert "it may not be written, so a copy took its place" in again.losses[0]
    assert [each["train/loss"] for each in read_records(again.path)] == [0.5, 0.125]
    log.path.parent.chmod(0o555)
    with pytest.raises(SaveError, match="you may not write there. Choose another folder with -o run.log_dir=FOLDER"):
        JsonlLogger(folder / "log").require_writable()


def test_a_read_only_log_is_replaced_by_its_copy_and_a_folder_that_forbids_it_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # Where nobody may go, unlike pytest's own.
        Path(folder).chmod(0o777)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                as_nobody(Path(folder))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def without_the_right_to_write_anywhere(program: str, *arguments: object) -> None:
    """Run it as root whom modes bind as they do others, or as who runs the tests."""
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if bound and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    done = subprocess.run(
        [*bound, sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr


GO_ON = """
import sys, pathlib
from small_run import train, trainer
from paddle_resume.checkpoint.reader import load
from paddle_resume.loggers import VisualDLLogger
folder, epochs, lost = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
made = train(trainer(folder, logger=VisualDLLogger(folder / "log", "model")), epochs=epochs)
told = [line for line in made.told if "cannot be written: Permission denied. The run goes on without it" in line]
assert len(told) == lost, made.told
record = load(folder / "checkpoint" / f"model_epoch{epochs - 1}").record
assert record.exact and sum("logs" in event for event in record.lineage) == lost
"""


@pytest.mark.parametrize("what", ["folder", "log", "all"])
def test_a_resume_goes_on_without_a_log_that_it_may_not_write(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder forbids a new file, or the log to be opened, or both; the curves go on once they may again."""
    monkeypatch.setattr(environment, "_pinned", [])  # An elastic run in this process pins its threads for good.
    straight = train(
        trainer(tmp_path / "straight", logger=VisualDLLogger(tmp_path / "straight/log", "model")), epochs=4
    )
    run, log = tmp_path / "run", tmp_path / "run" / "log"
    train(trainer(run, logger=VisualDLLogger(log, "model")), epochs=2)
    file = log / "vdlrecords.model.log"
    known = read_scalars(file)
    if what != "folder":
        file.chmod(0o444 if what == "log" else 0)
    log.chmod(0o555 if what != "all" else 0)
    lost = what != "folder"
    without_the_right_to_write_anywhere(GO_ON, run, 3, int(lost))
    log.chmod(0o755)
    file.chmod(0o644)
    assert not lost or read_scalars(file) == known
    again = train(trainer(run, logger=VisualDLLogger(log, "model")), epochs=4)
    assert weights(again) == weights(straight)
    whole = {tag: [value[:2] for value in values] for tag, values in read_scalars(straight.loggers[0].path).items()}
    for tag, values in read_scalars(file).items():
        found = [value[:2] for value in values]
        assert set(found) <= set(whole[tag]) and found == sorted(found) and found[-1] == whole[tag][-1]
        assert lost or found == whole[tag]


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))


def test_a_log_without_room_stops_no_run_that_goes_on(tmp_path: Path, small_disk: Path) -> None:
    straight = train(trainer(tmp_path / "straight"), epochs=3)
    train(trainer(tmp_path / "run"), epochs=2)
    fill(small_disk)
    again = train(trainer(tmp_path / "run", logger=JsonlLogger(small_disk)), epochs=3)
    assert weights(again) == weights(straight)
    assert [line for line in again.told if "No space left on device. Training goes on, and nothing is lost" in line]
    (small_disk / "ballast").unlink()
    train(trainer(tmp_path / "run", logger=JsonlLogger(small_disk)), epochs=4)
    steps = [each["step"] for each in read_records(small_disk / "metrics.jsonl") if "train/loss" in each]
    assert steps == sorted(steps) and {15, 20} <= set(steps)


class FillsDisk(Callback):
    """Leaves no room where the log lies from a step on, and makes room again at another, if it comes there."""

    derived_attributes = ("_disk", "_full_at", "_free_at")

    def __init__(self, disk: Path, full_at: int, free_at: int = 0) -> None:
        self._disk, self._full_at, self._free_at = disk, full_at, free_at

    def on_step_end(self, run: Any) -> None:
        if run.step == self._full_at:
            fill(self._disk)
        if run.step == self._free_at:
            (self._disk / "ballast").unlink()


class LongLines(JsonlLogger):
    """Each line needs a new page of the disk."""

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        super().log_scalars({**scalars, **{f"train/{number}": 0.5 for number in range(250)}}, step)


class LongCurves(VisualDLLogger):
    """The same."""

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        super().log_scalars({**scalars, **{f"train/{number}": 0.5 for number in range(250)}}, step)


def content(log: Any) -> Any:
    return read_records(log.path) if isinstance(log, JsonlLogger) else read_values(log.path)


@pytest.mark.parametrize("kind", [LongLines, LongCurves])
@pytest.mark.parametrize("full_at", [1, 6])
def test_a_log_whose_disk_is_full_for_a_while_is_whole_in_the_end(
    kind: Any, full_at: int, tmp_path: Path, small_disk: Path
) -> None:
    """Also where the process ends meanwhile, and where it does not know of the disk any more when there is room."""
    log = kind(small_disk / "log", "model")
    straight = train(trainer(tmp_path / "straight", logger=kind(tmp_path / "log", "model"), log_every=1), epochs=6)
    for epochs, full, free in ((2, full_at, 0), (3, 0, 0), (4, 0, 18), (6, 22, 0)):
        callback = FillsDisk(small_disk, full, free)
        made = train(
            trainer(tmp_path / "run", logger=kind(small_disk / "log", "model"), callbacks=[callback], log_every=1),
            epochs=epochs,
        )
        waits = [line for line in made.told if "Training goes on, and nothing is lost" in line]
        assert len(waits) == 1, made.told
        assert bool([line for line in made.told if "can be written again, and is whole" in line]) == (free != 0)
    assert weights(made) == weights(straight)
    assert content(log) != content(straight.loggers[0])
    (small_disk / "ballast").unlink()
    done = train(trainer(tmp_path / "run", logger=kind(small_disk / "log", "model"), log_every=1), epochs=6)
    assert [line for line in done.told if "can be written again, and is whole" in line]
    assert content(log) == content(straight.loggers[0])
    assert not [event for event in load(tmp_path / "run/checkpoint/model_epoch5").record.lineage if "logs" in event]


@pytest.mark.parametrize("kind", [JsonlLogger, VisualDLLogger])
def test_records_that_waited_are_refused_where_they_are_none(kind: Any, tmp_path: Path) -> None:
    log = kind(tmp_path, "model")
    log.log_scalars({"train/loss": 0.5}, 1)
    log.prepare_save()
    state, before = log.state_dict(), log.path.read_bytes()
    for waiting in ("no Base64!", 7, None, ["a"], base64.b64encode(b"half a record").decode()):
        with pytest.raises(CheckpointError, match="Expected a log's cursor"):
            log.set_state_dict({**state, "waiting": waiting})
        assert log.path.read_bytes() == before


def test_what_waits_is_bounded(tmp_path: Path, small_disk: Path) -> None:
    log = JsonlLogger(small_disk / "log")
    told: list[str] = []
    log.tell = told.append
    log.log_scalars({"train/loss": 0.5}, 0)
    log.prepare_save()
    whole = log.state_dict()["offset"]
    fill(small_disk)
    for step in range(1, 40):
        log.log_scalars({f"train/{number}": 0.5 for number in range(2000)}, step)
        log.prepare_save()
    assert len(told) == 2 and "The run goes on without it" in told[1]
    assert log.state_dict() == {**log.state_dict(), "offset": log.path.stat().st_size, "without": True}
    assert log.state_dict()["offset"] >= whole and "waiting" not in log.state_dict()
