"""Checkpoints: saved and restored, whatever moment a process died at, whatever a file was made to say."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paddle_resume.checkpoint import commit, engine, record, run_folder, writer_process
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.checkpoint.save_job import execute
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.errors import CheckpointError, InexactResumeError, SaveError, StateError
from paddle_resume.storage.durable_files import FileSystem

# In this process, so that a disk which fails or dies can be put in the real one's place.
CheckpointEngine = functools.partial(engine.CheckpointEngine, background=False)


class Tensors:
    """Owner of a file of three tensors, all made of one number."""

    def __init__(self, value: int = 0, suffix: str = ".pdparams") -> None:
        self.suffix = suffix
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {
            "a": np.full((3, 2), self.value, np.float32),
            "empty": np.zeros((0, 2), np.int64),
            "b": np.array(self.value, np.int64),
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        values = {*state["a"].ravel().tolist(), int(state["b"])}
        assert len(values) == 1 and state["empty"].shape == (0, 2)
        self.value = int(values.pop())


class Plain:
    """Owner of a small state in the record."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = state or {}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def owners(value: int = 0) -> dict[str, Any]:
    return {"model": Tensors(value), "optimizer": Tensors(value, ".pdopt"), "progress": Plain({"step": value})}


def save(folder: Path, value: int, tag: str | None = None, name: str = "run", **options: Any) -> Path:
    """A checkpoint of `value`, at the step of that number, by a process of its own."""
    with closing(CheckpointEngine(folder, name, **options)) as one:
        return one.save(value, owners(value), tag=tag)


def restore(folder: Path, resume: str = "auto", name: str = "run") -> tuple[int, Restored] | None:
    """The one value that every owner got, and what the checkpointer told; None if there is nothing."""
    mine = owners()
    with closing(CheckpointEngine(folder, name)) as one:
        told = one.restore(mine, resume)
    if told is None:
        return None
    values = {mine["model"].value, mine["optimizer"].value, mine["progress"].state["step"], told.step}
    assert len(values) == 1, f"a mixture of checkpoints: {values}"
    return values.pop(), told


def restored_value(folder: Path, resume: str = "auto", name: str = "run") -> int | None:
    found = restore(folder, resume, name)
    return found[0] if found else None


@contextlib.contextmanager
def closing(one: CheckpointEngine) -> Iterator[CheckpointEngine]:
    try:
        yield one
    finally:
        one.close()


def listing(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def names(*prefixes: str) -> list[str]:
    return sorted(f"{prefix}{suffix}" for prefix in prefixes for suffix in (".pdparams", ".pdopt", ".pdstates"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record as one who knows how to compute its digest."""
    body = json.loads(path.read_text())
    del body["digest"]
    change(body)
    body["digest"] = record._own_digest(body)
    path.write_text(json.dumps(body))


# ---------------------------------------------------------------- save and restore


def test_what_was_saved_is_restored(tmp_path: Path) -> None:
    prefix = save(tmp_path / "deep" / "folder", 3)
    assert prefix == tmp_path / "deep" / "folder" / "run_step3"
    assert listing(prefix.parent) == names("run_step3")
    assert restored_value(prefix.parent) == 3


def test_an_empty_and_a_missing_folder_have_nothing_to_restore(tmp_path: Path) -> None:
    assert restore(tmp_path) is None
    assert restore(tmp_path / "new") is None


def test_a_plain_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = {
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "inf": float("inf"),
        "int": 2**70,
        "text": "größe 权重",
        "none": None,
        "list": [1, [2.5, True]],
        "array": np.array([[1.5, np.nan]], np.float32),
        "words": np.arange(3, dtype=np.uint32),
        "nested": {"0-d": np.array(7, np.int16)},
    }
    back = Plain()
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        one.save(1, {"owner": Plain(state)})
        one.restore({"owner": back})
    for name in ("array", "words"):
        saved, found = state.pop(name), back.state.pop(name)
        assert (found.dtype, found.shape, found.tobytes()) == (saved.dtype, saved.shape, saved.tobytes())
    assert back.state == state


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"f": lambda: 0}, "a builtins.function in it has no plain form"),
        ({"s": {1, 2}}, "a builtins.set in it has no plain form"),
        ({"a": np.array([None])}, "a numpy.ndarray in it has no plain form"),
        ({"d": {1: "one"}}, "the key 1 of a dict in it is no string"),
        ({"l": [{(1, 2): 0}]}, r"the key \(1, 2\) of a dict in it is no string"),
    ],
    ids=["function", "set", "objects", "number as key", "tuple as key"],
)
def test_a_state_that_would_not_come_back_is_refused_by_its_owner_s_name(
    state: dict, reason: str, tmp_path: Path
) -> None:
    refusal = pytest.raises(StateError, match=f"The state of 'mine' cannot be saved: {reason}")
    with closing(CheckpointEngine(tmp_path, "run")) as one, refusal:
        one.save(1, {"mine": Plain(state)})
    assert listing(tmp_path) == []


def test_a_state_with_more_values_than_a_resume_would_read_is_refused_but_not_as_an_array(
    tmp_path: Path,
) -> None:
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        with pytest.raises(StateError, match="The state of 'mine' is too large for a record .* NumPy arrays"):
            one.save(1, {"mine": Plain({"x": list(range(900_000))})})
        assert listing(tmp_path) == []
        one.save(1, {"mine": Plain({"x": np.arange(900_000)})})
        one.wait()
        assert one.restore({"mine": Plain({})}) is not None


def test_a_state_that_holds_itself_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["me"] = state
    with closing(CheckpointEngine(tmp_path, "run")) as one, pytest.raises(StateError, match="'mine'"):
        one.save(1, {"mine": Plain(state)})


@pytest.mark.parametrize("suffix", [".pdparams", ".pdstates", ".gen-1.pdopt", "pdopt", "/x", ".pdopt\n"])
def test_two_owners_of_one_file_and_odd_file_names_are_refused(suffix: str, tmp_path: Path) -> None:
    both = {"model": Tensors(1), "other": Tensors(2, suffix)}
    refusal = pytest.raises(StateError, match=r"'(other|model)' asks for a file '")
    with closing(CheckpointEngine(tmp_path, "run")) as one, refusal:
        one.save(1, both)
    assert listing(tmp_path) == []


def test_owners_that_came_or_went_are_differences(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with closing(CheckpointEngine(tmp_path, "run")) as one, pytest.raises(InexactResumeError) as caught:
        one.restore({"model": Tensors(), "ema": Tensors(0, ".pdema"), "best": Plain()})
    for line in (
        "state of 'progress': saved -> nobody here owns it",
        "state of 'best': not saved -> owned here",
        "file .pdopt: saved -> nobody here owns it",
        "file .pdema: not saved -> owned here",
    ):
        assert line in str(caught.value)


def test_the_lineage_tells_every_resume_and_an_inexact_one_marks_what_follows(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        one.restore(owners())
        assert record.read(_states(one.save(2, owners(2)))).exact
    more = {**owners(), "new": Plain()}
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        told = one.restore(more, allow_inexact=True)
        last = record.read(_states(one.save(3, {**owners(3), "new": Plain()})))
    assert told is not None
    assert list(map(str, told.differences)) == ["state of 'new': not saved -> owned here"]
    assert not last.exact
    assert [(e["event"], e.get("from"), e.get("exact")) for e in last.lineage] == [
        ("start", None, None),
        ("resume", "run_step1", True),
        ("resume", "run_step2", False),
    ]
    assert last.lineage[-1]["differences"] == list(map(str, told.differences))


def _states(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".pdstates")


# ---------------------------------------------------------------- which checkpoint


def test_auto_takes_the_last_written_and_not_the_highest_step(tmp_path: Path) -> None:
    save(tmp_path, 8)
    save(tmp_path, 2, tag="epoch0")
    assert restored_value(tmp_path) == 2
    numbers = [record.read(_states(tmp_path / p)).sequence for p in ("run_step8", "run_epoch0")]
    assert numbers == [0, 1]  # counted on over processes


@pytest.mark.parametrize("form", ["{}", "{}.pdparams", "{}.pdopt", "{}.pdstates"])
def test_a_checkpoint_is_named_by_its_prefix_or_any_of_its_files(form: str, tmp_path: Path) -> None:
    prefix = save(tmp_path, 1)
    save(tmp_path, 2)
    assert restored_value(tmp_path, form.format(prefix)) == 1


def test_a_run_folder_means_the_newest_checkpoint_in_it_of_this_run_if_there_is_one(tmp_path: Path) -> None:
    save(tmp_path / "there", 1, name="other")
    save(tmp_path / "there", 2, name="other")
    assert restored_value(tmp_path / "here", str(tmp_path / "there")) == 2
    save(tmp_path / "there", 3)
    assert restored_value(tmp_path / "here", str(tmp_path / "there")) == 3
    save(tmp_path / "there", 4, name="other")
    assert restored_value(tmp_path / "here", str(tmp_path / "there")) == 3
    with pytest.raises(CheckpointError, match="There is no whole checkpoint in the folder"):
        restore(tmp_path / "here", str(tmp_path))


def test_runs_of_similar_names_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("mnist", "mnist_lenet", "mnist.v2", "mnist_step3", "[m]")):
        save(tmp_path, number, name=name)
    for number, name in enumerate(("mnist", "mnist_lenet", "mnist.v2", "mnist_step3", "[m]")):
        assert restored_value(tmp_path, name=name) == number


def test_a_missing_checkpoint_is_an_error_that_lists_those_that_are_whole(tmp_path: Path) -> None:
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    bad.with_name(bad.name + ".pdopt").unlink()
    with pytest.raises(CheckpointError) as caught:
        restore(tmp_path, str(tmp_path / "run_step9"))
    assert str(caught.value) == (
        f"There is no checkpoint {tmp_path / 'run_step9'}. Checkpoints that can be resumed: {good}."
    )
    with pytest.raises(CheckpointError, match="No other checkpoint is there"):
        restore(tmp_path, str(tmp_path / "elsewhere" / "run_step9"))


# ---------------------------------------------------------------- damage

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "one byte short": lambda raw: raw[:-1],
    "one byte more": lambda raw: raw + b"\0",
    "zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    # The last byte of a record is a line end, and nothing is lost without it.
    [(k, s) for k in DAMAGE for s in (".pdparams", ".pdopt", ".pdstates") if (k, s) != ("one byte short", ".pdstates")],
)
def test_auto_falls_back_to_the_checkpoint_before_and_says_so(kind: str, suffix: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    bad = save(tmp_path, 2)
    path = bad.with_name(bad.name + suffix)
    damaged = DAMAGE[kind](path.read_bytes())
    path.write_bytes(damaged)
    found = restore(tmp_path)
    assert found is not None and found[0] == 1
    # A record without content has lost its place in the order, so it is looked at last.
    if suffix != ".pdstates":
        assert len(found[1].passed_over) == 1 and found[1].passed_over[0].startswith(f"{bad}: {path.name}")
    with pytest.raises(CheckpointError, match=r"run_step2 is not whole: .*resumed: .*run_step1\."):
        restore(tmp_path, str(bad))
    assert path.read_bytes() == damaged  # what is damaged is left for a person to look at


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
def test_every_flipped_byte_is_noticed(suffix: str, tmp_path: Path) -> None:
    prefix = save(tmp_path, 1)
    path = prefix.with_name(prefix.name + suffix)
    raw = path.read_bytes()
    for position in range(0, len(raw), 7 if suffix == ".pdstates" else 1):
        # Blanks between the values of the record mean nothing, and may become another blank.
        flipped = raw[:position] + bytes([raw[position] ^ 0x41]) + raw[position + 1 :]
        path.write_bytes(flipped)
        with pytest.raises(record.Unreadable):
            load(prefix)
    path.write_bytes(raw)
    assert load(prefix).record.step == 1


def test_a_run_of_which_no_checkpoint_is_whole_is_not_silently_started_over(tmp_path: Path) -> None:
    for value in (1, 2):
        prefix = save(tmp_path, value)
        prefix.with_name(prefix.name + ".pdopt").write_bytes(b"")
    before = listing(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        restore(tmp_path)
    assert "None of this run's checkpoints is whole. Passed over: " in str(caught.value)
    assert f"{tmp_path / 'run_step1'}: run_step1.pdopt has 0 bytes and should have" in str(caught.value)
    assert "--resume none --overwrite" in str(caught.value)
    assert listing(tmp_path) == before


def test_a_record_that_was_renamed_is_refused(tmp_path: Path) -> None:
    prefix = save(tmp_path, 1)
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        shutil.copy(f"{prefix}{suffix}", tmp_path / f"run_step7{suffix}")
    with pytest.raises(CheckpointError, match="it is the record of 'run_step1', moved or renamed"):
        restore(tmp_path, str(tmp_path / "run_step7"))
    assert restored_value(tmp_path) == 1


@pytest.mark.parametrize("name", ["/../../etc/passwd", "../x", "..", "/etc/passwd", ".a/../../b", "", ".a.b.c"])
def test_a_record_cannot_name_files_elsewhere(name: str, tmp_path: Path) -> None:
    prefix = save(tmp_path, 1)
    rewrite(_states(prefix), lambda body: body["files"].update({name: body["files"].pop(".pdopt")}))
    with pytest.raises(CheckpointError, match="it is inconsistent: files"):
        restore(tmp_path, str(prefix))
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        one.start_over(overwrite=True)
    assert (tmp_path / "run_step1.pdopt").exists()  # nor can it have files removed


def _tensor(body: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return body["files"][".pdparams"]["tensors"][index]


LIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "overlap": (lambda b: _tensor(b, 2).update(offset=_tensor(b)["offset"] + 4), "overlap with the tensor before"),
    "order": (lambda b: b["files"][".pdparams"]["tensors"].reverse(), "overlap with the tensor before"),
    "past the end": (lambda b: _tensor(b, 2).update(offset=10**9), "of a file of"),
    "negative": (lambda b: _tensor(b).update(offset=-1), "greater than or equal to 0"),
    "length": (lambda b: _tensor(b).update(length=8), r"shape \[3, 2\] of <f4 is not 8 bytes"),
    "huge": (lambda b: _tensor(b).update(shape=[2**61, 2**61]), "is not 24 bytes"),
    "dimensions": (lambda b: _tensor(b).update(shape=[3, 2, *[1] * 40]), "at most 32 items"),
    "objects": (lambda b: _tensor(b).update(dtype="|O8"), "should match pattern"),
    "odd number": (lambda b: _tensor(b).update(dtype="<f3"), "f3"),
    "step": (lambda b: b.update(step=True), "step: "),
    "extra": (lambda b: b.update(more=1), "more: Extra inputs are not permitted"),
    "missing": (lambda b: b.pop("lineage"), "lineage: Field required"),
    "array": (lambda b: b["owners"].update(x={"__ndarray__": ["|O8", [1], "AAAA"]}), "array of dtype"),
    "array size": (lambda b: b["owners"].update(x={"__ndarray__": ["<f4", [9], "AAAA"]}), "inconsistent: "),
    "format": (lambda b: b.update(format=99), "it has format 99; this version reads format 1"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_lies_is_refused_before_it_is_used(lie: str, tmp_path: Path) -> None:
    prefix = save(tmp_path, 1)
    change, text = LIES[lie]
    rewrite(_states(prefix), change)
    with pytest.raises(record.Unreadable, match=text):
        load(prefix)


def test_a_record_whose_digest_was_not_computed_anew_is_refused(tmp_path: Path) -> None:
    path = _states(save(tmp_path, 1))
    path.write_text(path.read_text().replace('"step": 1,', '"step": 2,', 1))
    with pytest.raises(CheckpointError, match="its digest does not match: it was altered or damaged"):
        restore(tmp_path, str(tmp_path / "run_step1"))


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_record_nested_deeply_is_refused(depth: int) -> None:
    with pytest.raises(record.Unreadable):
        record.decode(b'{"format": 1, "owners": ' + b"[" * depth + b"]" * depth + b"}")


def test_why_a_record_is_unreadable_passes_through_context_managers() -> None:
    with pytest.raises(record.Unreadable, match="it is empty"), contextlib.ExitStack() as stack:
        stack.enter_context(_nothing())
        record.decode(b"")


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("suffix", [".pdparams", ".pdstates"])
def test_a_link_in_place_of_a_file_is_refused(suffix: str, tmp_path: Path) -> None:
    prefix = save(tmp_path / "run", 1)
    path = prefix.with_name(prefix.name + suffix)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="is no regular file"):
        restore(tmp_path / "run", str(prefix))


def test_weights_come_from_a_checkpoint_only_if_it_is_whole(tmp_path: Path) -> None:
    prefix = save(tmp_path, 5)
    path, arrays = read_weights(str(prefix))
    assert path == tmp_path / "run_step5.pdparams" and arrays["a"].tolist() == [[5, 5]] * 3
    raw = bytearray(path.read_bytes())
    raw[raw.index(np.full(6, 5, np.float32).tobytes())] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="is not whole: run_step5.pdparams: the digest of a does not match"):
        read_weights(str(prefix))


# ---------------------------------------------------------------- a process that dies, a disk that fails


class Killed(BaseException):
    """In place of SIGKILL: nothing in the package may catch it."""


class DyingDisk(FileSystem):
    """Acts out the first `lives` calls that change the disk, then raises at each; a write is cut in half."""

    def __init__(self, lives: int, death: Callable[[], BaseException]) -> None:
        self.lives = lives
        self._death = death

    def _live(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise self._death()

    def create(self, path: Path) -> int:
        self._live()
        return super().create(path)

    def write(self, fd: int, data: memoryview) -> int:
        if self.lives == 0:
            super().write(fd, data[: len(data) // 2])
        self._live()
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._live()
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._live()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._live()
        super().unlink(path)

    def fsync_folder(self, folder: Path) -> None:
        self._live()
        super().fsync_folder(folder)


@contextlib.contextmanager
def on_disk(disk: FileSystem) -> Iterator[None]:
    functions = {name: functools.partial(vars(commit)[name], disk=disk) for name in ("remove", "recover")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "commit", SimpleNamespace(**functions))
        patch.setattr(writer_process, "execute", functools.partial(execute, disk=disk))
        yield


def outcomes(tmp_path: Path, death: Callable[[], BaseException], scene: Callable[[Path], Any]) -> list[list[str]]:
    """Plays `scene` on copies of `tmp_path/start`, dying at each call in turn until it lives through it."""
    seen = []
    for lives in range(100):
        folder = tmp_path / f"death{lives}"
        shutil.copytree(tmp_path / "start", folder)
        disk = DyingDisk(lives, death)
        died = False
        with on_disk(disk):
            try:
                scene(folder)
            except (Killed, SaveError):
                died = True
        if disk.lives >= 0:
            assert not died
            return seen
        seen.append([folder.name, str(restored_value(folder))])
        assert not [name for name in listing(folder) if name.endswith((".tmp", ".removed"))]
        assert restored_value(folder) == int(seen[-1][1])
        save(folder, 50)
        assert restored_value(folder) == 50
    raise AssertionError("the scene never ended")


DEATHS = {
    "kill": Killed,
    "full disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "broken disk": lambda: OSError(errno.EIO, "Input/output error"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_save_over_an_existing_prefix_leaves_the_old_or_the_new_whole(death: str, tmp_path: Path) -> None:
    save(tmp_path / "start", 1, tag="epoch0")
    seen = outcomes(tmp_path, DEATHS[death], lambda folder: save(folder, 2, tag="epoch0"))
    values = [value for _, value in seen]
    assert values == sorted(values) and set(values) == {"1", "2"} and len(values) > 12


@pytest.mark.parametrize("death", DEATHS)
def test_a_save_with_retention_leaves_the_one_before_or_the_new(death: str, tmp_path: Path) -> None:
    save(tmp_path / "start", 1)
    save(tmp_path / "start", 2)
    seen = outcomes(tmp_path, DEATHS[death], lambda folder: save(folder, 3, keep=1))
    values = [value for _, value in seen]
    assert values == sorted(values) and set(values) == {"2", "3"} and len(values) > 20


def test_a_first_save_that_was_killed_leaves_nothing_or_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    for lives in range(100):
        folder = tmp_path / f"death{lives}"
        disk = DyingDisk(lives, Killed)
        with on_disk(disk), contextlib.suppress(Killed):
            save(folder, 4)
        value = restored_value(folder)
        assert listing(folder) == ([] if value is None else names("run_step4"))
        if disk.lives >= 0:
            break
    assert lives > 12 and value == 4


def unpublished(folder: Path, value: int, tag: str, keep_renamed: int = 0, name: str = "run") -> None:
    """What a process leaves that was killed after `keep_renamed` of its three renames."""

    class DiesAmongRenames(FileSystem):
        renames = 0

        def rename(self, source: Path, target: Path) -> None:
            if self.renames == keep_renamed:
                raise Killed
            self.renames += 1
            super().rename(source, target)

    with on_disk(DiesAmongRenames()), pytest.raises(Killed):
        save(folder, value, tag=tag, name=name)


@pytest.mark.parametrize("renamed", [0, 1, 2])
@pytest.mark.parametrize("name", ["run", "run.v2", "run_lenet", "[r]*"])
def test_a_commit_that_lacks_only_its_renames_is_rolled_forward(name: str, renamed: int, tmp_path: Path) -> None:
    save(tmp_path, 1, tag="epoch0", name=name)
    unpublished(tmp_path, 2, "epoch0", renamed, name=name)
    assert any(entry.endswith(".tmp") for entry in listing(tmp_path))
    assert restored_value(tmp_path, name=name) == 2
    assert listing(tmp_path) == names(f"{name}_epoch0")


def test_an_unpublished_commit_can_be_read_before_anyone_tidies_up(tmp_path: Path) -> None:
    unpublished(tmp_path, 2, "epoch0", 1)
    found = load(tmp_path / "run_epoch0")
    assert found.record.step == 2
    assert [path.name for path in found.unpublished] == ["run_epoch0.pdopt", "run_epoch0.pdstates"]


@pytest.mark.parametrize("lost", [".pdparams", ".pdopt", ".pdstates"])
def test_half_a_temporary_is_ignored_and_cleared_away(lost: str, tmp_path: Path) -> None:
    save(tmp_path, 1, tag="epoch0")
    unpublished(tmp_path, 2, "epoch0")
    path = tmp_path / f".run_epoch0{lost}.tmp"
    path.write_bytes(path.read_bytes()[:-3])
    assert load(tmp_path / "run_epoch0").record.step == 1
    assert restored_value(tmp_path) == 1
    assert listing(tmp_path) == names("run_epoch0")


@pytest.mark.parametrize("other", ["run_lenet", "run.v2"])
def test_the_unfinished_saves_of_another_run_in_the_folder_are_left_alone(other: str, tmp_path: Path) -> None:
    unpublished(tmp_path, 2, "epoch0", name=other)
    before = listing(tmp_path)
    save(tmp_path, 1, tag="epoch0")
    assert restored_value(tmp_path) == 1
    assert listing(tmp_path) == sorted([*before, *names("run_epoch0")])
    assert restored_value(tmp_path, name=other) == 2


def test_a_removal_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "run_step1.other").write_bytes(b"somebody else's")
    with pytest.raises(Killed):
        commit.remove(tmp_path / "run_step1", DyingDisk(1, Killed))
    assert ".run_step1.pdstates.removed" in listing(tmp_path)
    assert "run_step1.pdparams" in listing(tmp_path)
    assert restored_value(tmp_path) == 2
    assert listing(tmp_path) == sorted([*names("run_step2"), "run_step1.other"])


def test_a_removal_of_another_run_is_left_to_that_run(tmp_path: Path) -> None:
    save(tmp_path, 1, name="other")
    with pytest.raises(Killed):
        commit.remove(tmp_path / "other_step1", DyingDisk(1, Killed))
    save(tmp_path, 1)
    assert ".other_step1.pdstates.removed" in listing(tmp_path)
    assert restore(tmp_path, name="other") is None
    assert listing(tmp_path) == names("run_step1")


# ---------------------------------------------------------------- retention and starting over


def test_retention_keeps_the_newest_steps_and_epochs_and_touches_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 1, name="other")
    (tmp_path / "run_step1.txt").write_text("notes")
    with closing(CheckpointEngine(tmp_path, "run", keep=2, keep_epochs=1)) as one:
        for value in range(1, 6):
            one.save(value, owners(value))
            if value % 2 == 0:
                one.save(value, owners(value), tag=f"epoch{value // 2 - 1}")
    expected = [*names("run_step4", "run_step5", "run_epoch1", "other_step1"), "run_step1.txt"]
    assert listing(tmp_path) == sorted(expected)


def test_without_a_number_all_epochs_are_kept(tmp_path: Path) -> None:
    with closing(CheckpointEngine(tmp_path, "run", keep=1)) as one:
        for value in range(4):
            one.save(value, owners(value), tag=f"epoch{value}")
    assert listing(tmp_path) == names(*(f"run_epoch{value}" for value in range(4)))


def test_a_checkpoint_of_unknown_place_neither_counts_nor_goes(tmp_path: Path) -> None:
    for value in (1, 2):
        save(tmp_path, value, keep=5)
    (tmp_path / "run_step2.pdstates").write_bytes(b"{")
    save(tmp_path, 3, keep=2)
    assert listing(tmp_path) == names("run_step1", "run_step2", "run_step3")


def test_going_back_to_an_older_checkpoint_makes_what_is_saved_then_the_newest(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        save(tmp_path, value, keep=5)
    with closing(CheckpointEngine(tmp_path, "run", keep=5)) as one:
        one.restore(owners(), str(tmp_path / "run_step1"))
        one.save(2, owners(2))
    assert restored_value(tmp_path) == 2


def test_starting_over_is_refused_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    prefixes = [save(tmp_path, 1), save(tmp_path, 2)]
    save(tmp_path, 1, name="other")
    with closing(CheckpointEngine(tmp_path, "run")) as one:
        with pytest.raises(CheckpointError) as caught:
            one.start_over()
        assert all(str(prefix) in str(caught.value) for prefix in prefixes)
        assert "Add --overwrite to remove them" in str(caught.value)
        assert listing(tmp_path) == names("run_step1", "run_step2", "other_step1")
        assert one.start_over(overwrite=True) == 2
    assert listing(tmp_path) == names("other_step1")


def test_files_of_another_program_under_the_run_s_names_are_not_overwritten(tmp_path: Path) -> None:
    for file in ("run_epoch3.pdparams", "run_epoch3.pdopt", "other_epoch0.pdparams", "run_final.pdparams"):
        (tmp_path / file).write_bytes(b"theirs")
    with pytest.raises(
        CheckpointError, match=r"run_epoch3\.pdopt, .*run_epoch3\.pdparams would be overwritten by this"
    ):
        restore(tmp_path)
    (tmp_path / "run_epoch3.pdparams").unlink()
    (tmp_path / "run_epoch3.pdopt").unlink()
    assert restore(tmp_path) is None
    save(tmp_path, 4)
    (tmp_path / "run_step4.pdstates").unlink()  # Lost: the weights may be all that somebody has left.
    with pytest.raises(CheckpointError, match="or the record was lost"):
        restore(tmp_path)


def test_what_cannot_be_captured_yet_is_told_by_a_save_and_not_before(tmp_path: Path) -> None:
    class Late(Tensors):
        def state_dict(self) -> dict[str, Any]:
            if not self.value:
                raise StateError("not yet")
            return super().state_dict()

    owner, one = Late(), CheckpointEngine(tmp_path, "run")
    one.reserve({"late": owner})
    with pytest.raises(StateError, match="not yet"):
        one.save(1, {"late": owner})
    owner.value = 1
    one.reserve({"late": owner})
    owner.value = 2  # What the first save holds is what there is then.
    one.save(2, {"late": owner})
    one.wait()
    again = Late(3)
    one.restore({"late": again})
    assert again.value == 2
    one.close()
