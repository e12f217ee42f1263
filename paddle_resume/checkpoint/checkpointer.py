"""Saves and restores the owners of a run's state; it walks them and knows nothing of what is inside."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddle_resume.checkpoint import commit
from paddle_resume.checkpoint.catalog import (
    BEST,
    Found,
    find_all,
    inexact_foreign,
    missing,
    named_prefix,
    offer,
    unfinished,
    without_record,
)
from paddle_resume.checkpoint.foreign_checkpoint import is_foreign, translate
from paddle_resume.checkpoint.reader import Loaded, load, sibling
from paddle_resume.checkpoint.record import (
    FILE_SUFFIX,
    SUFFIX,
    Record,
    Unreadable,
    encode_state,
)
from paddle_resume.checkpoint.save_job import SaveJob, now
from paddle_resume.checkpoint.snapshot import Files
from paddle_resume.checkpoint.writer_process import BackgroundWriter, InlineWriter
from paddle_resume.errors import CheckpointError, InexactResumeError, StateError
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owners
from paddle_resume.storage.durable_files import explain
from paddle_resume.storage.lock import RunLock


@dataclass(frozen=True)
class Restored:
    """What a restore did: where the run stands now, and what was passed over or differs."""

    prefix: Path
    step: int
    passed_over: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    """Differences that were asked for: the run goes on with them, as reproducible as before."""


class Checkpointer:
    """The checkpoints `<save_dir>/<name>_<tag>` of one run.

    Args:
        save_dir: the run folder; made when the first checkpoint is saved.
        name: the run's name, the first part of every prefix.
        keep: how many step checkpoints are kept.
        keep_epochs: how many epoch checkpoints are kept; None keeps all.
        background: write in a process of its own, behind training; else `save` returns when all is durable.
        world: the processes of the run. All of them call `save` and `restore`; rank 0 writes and chooses, and the
            others read what it chose, so that `save_dir` has to be one that every node sees.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str,
        *,
        keep: int = 2,
        keep_epochs: int | None = None,
        background: bool = True,
        world: World | None = None,
    ) -> None:
        self._world = world or World()
        self.folder = Path(save_dir)
        self.name = name
        self._keep = max(1, keep)
        self._keep_epochs = keep_epochs
        self._lock = RunLock(self.folder, name)
        self._writer: BackgroundWriter | InlineWriter = BackgroundWriter() if background else InlineWriter()
        self.lineage: list[dict[str, Any]] = [{"event": "start", **_whereabouts()}]
        self.wanted: Callable[[Mapping[str, list[str]]], list[str]] = lambda differences: []
        """Tells which differences (lines by owner) of a resume were asked for, as `AllowedChanges.wanted` does."""

    def save(
        self,
        step: int,
        owners: Mapping[str, Any],
        *,
        tag: str | None = None,
        epoch: int | None = None,
        phase: str | None = None,
        protect: str | None = None,
    ) -> Path:
        """Save the owners' state as `<name>_<tag>` (default `step<step>`) and return the prefix.

        What is saved is the state at this moment. In the background, the checkpoint is durable once `collect` or
        `wait` has given its prefix; one save is under way at a time, and the next waits for it. Raises
        SaveError, with every older checkpoint as it was; StateError if an owner's state cannot be captured. The
        checkpoint called `protect` is not removed to make room.
        """
        if not self._world.first:
            return self._take_part(tag or f"step{step}", owners)
        self.prepare()
        self.wait()
        states, files = _capture(_owners(owners))
        job = SaveJob(
            folder=str(self.folder),
            name=self.name,
            prefix=f"{self.name}_{tag or f'step{step}'}",
            header={
                "step": step,
                "epoch": epoch,
                "phase": phase,
                "exact": all(event.get("exact", True) for event in self.lineage),
                "lineage": self.lineage,
            },
            owners=states,
            files=self._writer.block.take(files),
            keep=self._keep,
            keep_epochs=self._keep_epochs,
            protect=protect,
        )
        self._writer.submit(job)
        return self.folder / job.prefix

    def reserve(self, owners: Mapping[str, Any]) -> None:
        """Have memory ready for the first save of these owners, so that it is as quick as those after it.

        Never needed, and returns at once; call it when the optimizer has made its state, after a first step.
        """
        if not self._world.first:
            return
        self.prepare()
        files = {suffix: o.state_dict() for o in _owners(owners).values() if (suffix := getattr(o, "suffix", None))}
        self._writer.block.reserve(files)

    @property
    def busy(self) -> bool:
        """Whether a save is under way."""
        return self._writer.busy

    def collect(self) -> Path | None:
        """The prefix of a save that has become durable since it was last asked for, or None; does not wait.

        Raises SaveError if that save failed.
        """
        return self._writer.collect()

    def wait(self) -> Path | None:
        """Wait until the save under way is durable, and return its prefix; None if there is none.

        Raises SaveError if it failed.
        """
        return self._writer.collect(wait=True)

    def restore(
        self, owners: Mapping[str, Any], resume: str = "auto", *, allow_inexact: bool = False
    ) -> Restored | None:
        """Bring the owners back to a checkpoint; None if there is none and `resume` is `auto`.

        `resume` is `auto` (the newest whole checkpoint of this run), a prefix, one of its files, or a run
        folder. A prefix may be one that another program saved, which is never exact. Raises CheckpointError
        for a named checkpoint that is missing or damaged, or if there are checkpoints and none is whole;
        InexactResumeError if something differs from when it was saved, `allow_inexact` is not set, and it is not
        all `wanted`.
        """
        self.prepare()
        every = _owners(owners)
        prefix = named_prefix(resume)
        if resume != "auto" and not Path(resume).is_dir() and is_foreign(prefix):
            return self._restore_foreign(prefix, every, allow_inexact)
        loaded, passed_over = self._choose_together(resume)
        if loaded is None:
            return None
        found = _differences(every, loaded.record)
        changes = self.wanted(found)
        differences = [line for lines in found.values() for line in lines if line not in changes]
        if differences and not allow_inexact:
            raise _inexact(loaded.prefix, differences, changes)
        _restore(every, loaded.record.owners, loaded.tensors)
        prefix, step = loaded.prefix, loaded.record.step
        change = [_changed(prefix, step, changes)] if changes else []
        self.lineage = [*loaded.record.lineage, *change, _resumed(prefix, step, differences)]
        return Restored(prefix, step, passed_over, differences, changes)

    def start_over(self, overwrite: bool = False) -> int:
        """Clear the way for a run from the beginning; returns how many checkpoints were removed.

        Raises CheckpointError if there are checkpoints of this name and `overwrite` is not set.
        """
        self.prepare()
        if not self._world.first:
            return 0
        found = self.found()
        if found and not overwrite:
            names = ", ".join(str(f.prefix) for f in found)
            raise CheckpointError(
                f"--resume none would write over the checkpoints of an earlier run: {names}. Add --overwrite to "
                "remove them, leave out --resume to continue that run, or choose another run.name or run.save_dir."
            )
        prefixes = [checkpoint.prefix for checkpoint in found]
        best = self.folder / f"{self.name}_{BEST}"
        if sibling(best, SUFFIX).exists():
            prefixes.append(best)
        for prefix in prefixes:
            commit.remove(prefix)
        return len(prefixes)

    def found(self) -> list[Found]:
        """This run's checkpoints, the last written first."""
        return _list_folder(self.folder, self.name)

    def prepare(self) -> None:
        """Become the only writer of this run, and tidy up what dead processes left behind.

        Raises CheckpointError if a living process holds the run, SaveError if the folder cannot be written.
        """
        if self._lock.held or not self._world.first:
            return
        try:
            self._lock.acquire()
            for prefix in unfinished(self.folder, self.name, "removed"):
                commit.remove(prefix)
            for prefix in unfinished(self.folder, self.name, "tmp"):
                commit.recover(prefix)
            self._writer.start()
        except OSError as error:
            self._lock.release()  # So that another attempt tidies up as well.
            raise explain(error, self.folder, 0) from error

    def close(self) -> None:
        """Finish the save under way, and let another process write this run.

        Raises SaveError if that save failed, or if an old checkpoint could not be removed after it.
        """
        try:
            self._writer.close()
        finally:
            self._lock.release()

    def _refuse_to_overwrite(self) -> None:
        """Before a fresh start: what another program has saved under this run's names must not be lost."""
        theirs = without_record(self.folder, self.name)
        if theirs:
            prefix = theirs[0].with_suffix("")
            raise CheckpointError(
                f"{', '.join(map(str, theirs))} would be overwritten by this run, and no commit record tells of them: "
                f"another program saved them, or the record was lost. Go on from them with --resume {prefix} "
                "--allow-inexact, or choose another run.name or run.save_dir, or move them away."
            )

    def _restore_foreign(self, prefix: Path, owners: Owners, allow_inexact: bool) -> Restored:
        """Go on from what another program saved; it always lacks something, and the lineage says what."""
        try:
            found = translate(prefix, owners)
        except Unreadable as error:
            good = offer(_good(prefix.parent))
            raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}. {good}") from error
        if not allow_inexact:
            raise inexact_foreign(found.prefix, found.differences, _good(found.prefix.parent))
        _restore(owners, found.states, found.tensors)
        self.lineage = [*self.lineage, _resumed(found.prefix, found.step, found.differences)]
        return Restored(found.prefix, found.step, [], found.differences)

    def _take_part(self, tag: str, owners: Mapping[str, Any]) -> Path:
        """Give rank 0 what the save needs of this process."""
        for owner in reversed(list(owners.values())):
            if getattr(owner, "across_ranks", False):
                owner.state_dict()
        return self.folder / f"{self.name}_{tag}"

    def _choose_together(self, resume: str) -> tuple[Loaded | None, list[str]]:
        """The checkpoint that rank 0 chooses, as it is seen from here."""
        if self._world.first:
            loaded, passed_over = self._choose(resume)
            if loaded is None:
                self._refuse_to_overwrite()
            self._world.from_first((loaded.prefix, loaded.record.files) if loaded else None)
            return loaded, passed_over
        chosen = self._world.from_first(None)
        if chosen is None:
            return None, []
        prefix, files = chosen
        try:
            loaded = load(prefix)
            if loaded.record.files != files:
                raise Unreadable("what is here is another save than rank 0 sees")
        except Unreadable as error:
            raise CheckpointError(
                f"rank 0 resumes from {prefix}, and on {socket.gethostname()}: {error.reason}. All nodes have to see "
                "the same run.save_dir, on a file system that they share."
            ) from error
        return loaded, []

    def _choose(self, resume: str) -> tuple[Loaded | None, list[str]]:
        if resume == "auto":
            loaded, passed_over = _newest(self.found())
            if loaded is None and passed_over:
                raise CheckpointError(
                    f"None of this run's checkpoints is whole. {_list(passed_over)} Put a good copy back, or start "
                    "over with --resume none --overwrite."
                )
            return loaded, passed_over
        prefix = named_prefix(resume)
        if Path(resume).is_dir():
            loaded, passed_over = _newest(_list_folder(Path(resume), self.name) or _list_folder(Path(resume)))
            if loaded is None:
                raise CheckpointError(f"There is no whole checkpoint in the folder {resume}. {_list(passed_over)}")
            return loaded, passed_over
        try:
            return load(prefix), []
        except Unreadable as error:
            good = _good(prefix.parent)
            if error.reason == "it is missing":
                raise missing(prefix, good) from error
            raise CheckpointError(f"Checkpoint {prefix} is not whole: {error.reason}. {offer(good)}") from error


def _copied_together() -> AbstractContextManager[None]:
    if "paddle" not in sys.modules:  # The engine works without it.
        return nullcontext()
    from paddle_resume.owners.tensor_views import copied_together

    return copied_together()


def _owners(owners: Mapping[str, Any]) -> Owners:
    if isinstance(owners, Owners):
        return owners
    if "paddle" not in sys.modules:
        return Owners(**owners)
    from paddle_resume.owners.loop_owners import loop_owners

    return loop_owners(owners)


def _capture(owners: Owners) -> tuple[str, Files]:
    """The plain states as JSON, and the files; the last restored (randomness) is the first captured."""
    files: dict[str, Any] = {}
    states: dict[str, Any] = {}
    for name in reversed(list(owners)):
        owner = owners[name]
        suffix = getattr(owner, "suffix", None)
        if suffix:
            if suffix in files or suffix == SUFFIX or not re.fullmatch(FILE_SUFFIX, suffix):
                raise StateError(
                    f"{name!r} asks for a file {suffix!r}, which is taken by another owner or no suffix of one or two "
                    "parts of letters, digits and '_', such as '.generator.pdopt'; give it another name."
                )
            with _copied_together():
                files[suffix] = owner.state_dict()
        else:
            states[name] = encode_state(name, owner.state_dict())
    plain = ", ".join(f"{json.dumps(name)}: {states[name]}" for name in reversed(states))
    return f"{{{plain}}}", dict(reversed(files.items()))


def _restore(owners: Owners, states: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    for name, owner in owners.items():
        suffix = getattr(owner, "suffix", None)
        if suffix and suffix in tensors:
            owner.set_state_dict(tensors[suffix])
        elif name in states:
            owner.set_state_dict(states[name])


def _inexact(prefix: Path, differences: list[str], changes: list[str]) -> InexactResumeError:
    allowed = f" (--allow-change allows: {'; '.join(changes)})" if changes else ""
    return InexactResumeError(
        f"Resuming from {prefix} would not continue bit for bit, because since it was saved these changed: "
        f"{'; '.join(differences)}{allowed}. Put them back; or, to have another value from here on, give the config's "
        "key with -o and add --allow-change; or go on all the same with --allow-inexact (the run's lineage will say "
        "so), or start over with --resume none."
    )


def _changed(prefix: Path, step: int, changes: list[str]) -> dict[str, Any]:
    """The lineage's entry of a change that was asked for: what it was and what it is from here on."""
    return {"event": "change", "from": prefix.name, "step": step, "changes": changes, **_whereabouts()}


def _resumed(prefix: Path, step: int, differences: list[str]) -> dict[str, Any]:
    """The lineage's entry of a resume."""
    event = {"event": "resume", "from": prefix.name, "step": step}
    return {**event, "exact": not differences, "differences": differences, **_whereabouts()}


def _differences(owners: Owners, record: Record) -> dict[str, list[str]]:
    """Lines by the owner that reports them; those of owners and files that are not on both sides under `owners`."""
    plain = {name for name, owner in owners.items() if not getattr(owner, "suffix", None)}
    suffixes = {suffix for owner in owners.values() if (suffix := getattr(owner, "suffix", None))}
    lines = [f"state of {name!r}: saved -> nobody here owns it" for name in record.owners if name not in plain]
    lines += [f"state of {name!r}: not saved -> owned here" for name in sorted(plain - set(record.owners))]
    lines += [f"file {suffix}: saved -> nobody here owns it" for suffix in record.files if suffix not in suffixes]
    lines += [f"file {suffix}: not saved -> owned here" for suffix in sorted(suffixes - set(record.files))]
    found = {"owners": lines} if lines else {}
    for name, owner in owners.items():
        if name in record.owners and hasattr(owner, "differences"):
            found[name] = [*found.get(name, []), *owner.differences(record.owners[name])]
    return found


def _newest(found: list[Found]) -> tuple[Loaded | None, list[str]]:
    passed_over: list[str] = []
    for checkpoint in found:
        try:
            return load(checkpoint.prefix), passed_over
        except Unreadable as error:
            foreign = is_foreign(checkpoint.prefix)
            reason = "another program saved it; name it with --resume to go on from it" if foreign else error.reason
            passed_over.append(f"{checkpoint.prefix}: {reason}")
    return None, passed_over


def _good(folder: Path) -> list[str]:
    good = []
    for checkpoint in _list_folder(folder):
        try:
            load(checkpoint.prefix)
            good.append(str(checkpoint.prefix))
        except Unreadable:
            continue
    return good


def _list_folder(folder: Path, name: str | None = None) -> list[Found]:
    try:
        return find_all(folder, name)
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} could not be read: {error.strerror}. Nothing was changed; look at the disk, then run "
            "the same command again."
        ) from error


def _list(lines: list[str]) -> str:
    return f"Passed over: {'; '.join(lines)}." if lines else ""


def _whereabouts() -> dict[str, Any]:
    return {"time": now(), "host": socket.gethostname(), "pid": os.getpid()}
