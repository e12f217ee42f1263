"""The engine: saves and restores the owners of a run's state, and knows nothing of what is inside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union

from paddle_resume.checked_arguments import checked_class
from paddle_resume.checkpoint import owner_states
from paddle_resume.checkpoint.catalog import Found, named_prefix, run_of
from paddle_resume.checkpoint.choose import AUTO, choose_together
from paddle_resume.checkpoint.foreign_checkpoint import is_foreign
from paddle_resume.checkpoint.foreign_restore import restore_foreign
from paddle_resume.checkpoint.lineage import Lineage
from paddle_resume.checkpoint.node_memory import NodeMemory
from paddle_resume.checkpoint.reader import Loaded
from paddle_resume.checkpoint.restored import MEMORY, InMemory, Restored
from paddle_resume.checkpoint.resume_errors import Explain, Refusal, explain_to_program
from paddle_resume.checkpoint.run_folder import RunFolder
from paddle_resume.checkpoint.save_job import SaveJob, make_durable
from paddle_resume.checkpoint.writer_process import BackgroundWriter, InlineWriter
from paddle_resume.differences import Difference
from paddle_resume.errors import InexactResumeError, StateError
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner, Owners

Wanted = Callable[[Sequence[Difference]], Sequence[Difference]]
"""Tells which differences of a resume were asked for, as `AllowedChanges.wanted` does."""
_UNKNOWN = Path()


@checked_class()
class CheckpointEngine:
    """The checkpoints `<save_dir>/<name>_<tag>` of one run.

    Args:
        save_dir: the run folder; made when the first checkpoint is saved.
        name: the run's name, the first part of every prefix.
        keep: how many step checkpoints are kept.
        keep_epochs: how many epoch checkpoints are kept; None keeps all.
        background: write in a process of its own, behind training; else `save` returns when all is durable.
        memory: whether saves in memory are looked for.
        world: the processes of the run. All of them call `save` and `restore`; rank 0 writes and chooses, and the
            others read what it chose, so that `save_dir` has to be one that every node sees.
    """

    def __init__(
        self,
        save_dir: Union[str, Path],
        name: str,
        *,
        keep: int = 2,
        keep_epochs: Optional[int] = None,
        background: bool = True,
        memory: bool = True,
        world: Optional[World] = None,
    ) -> None:
        self._world = world or World()
        self.folder = Path(save_dir)
        self.name = name
        self.lineage = Lineage()
        self._keep = max(1, keep)
        self._keep_epochs = keep_epochs
        self._home = RunFolder(self.folder, name)
        self._memory = NodeMemory(self.folder, name, self._world)
        self._looks_in_memory = memory
        self._newest: Path | None = None
        """The newest durable checkpoint from which the same command would go on; what it is only memory asks."""
        self._writer: BackgroundWriter | InlineWriter = BackgroundWriter() if background else InlineWriter()

    def as_owners(self, owners: Mapping[str, Any]) -> Owners:
        """`owners` as Owners; raises StateError for what is none."""
        return owners if isinstance(owners, Owners) else Owners(**owners)

    def prefix(self, tag: str) -> Path:
        """The prefix of this run's checkpoint called `tag`."""
        return self._home.prefix(tag)

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
        every, prefix = self.as_owners(owners), self.prefix(tag or f"step{step}")
        self.prepare()
        self.wait()
        owner_states.prepare(every)
        logs = owner_states.written_files(every)
        if not self._world.is_main:
            make_durable(logs)
            return prefix
        states, files = owner_states.capture(every)
        job = SaveJob(
            folder=str(self.folder),
            name=self.name,
            prefix=prefix.name,
            header=self._header(step, epoch, phase),
            owners=states,
            files=self._writer.block.take(files),
            keep=self._keep,
            keep_epochs=self._keep_epochs,
            protect=protect,
            logs=[str(path) for path in logs],
        )
        self._writer.submit(job)
        return prefix

    def save_in_memory(
        self, step: int, owners: Mapping[str, Any], *, epoch: int | None = None, phase: str | None = None
    ) -> None:
        """Keep the owners' state in shared memory, which outlives this process, until the next such save but one.

        The next `restore` of `auto` goes on from there if nothing durable was saved after it. All processes call it,
        with no save under way. Raises OSError if there is no room, StateError as `save` does.
        """
        every = self.as_owners(owners)
        self.prepare()
        owner_states.prepare(every)
        header = self._header(step, epoch, phase)
        after = self._home.newest() if self._newest == _UNKNOWN else self._newest
        self._newest = self._memory.save(header, lambda: owner_states.capture(every), after)

    def newest_in_memory(self, on_disk: Loaded | None) -> Loaded | None:
        """The save in memory that continues `on_disk`, the newest durable checkpoint, if there is one."""
        self._newest = on_disk.prefix if on_disk is not None else None
        return self._memory.newest(self._newest) if self._world.broadcast_object(self._looks_in_memory) else None

    def forget_memory(self) -> None:
        """Give back what this run has in memory: it is complete, or starts from elsewhere."""
        self._memory.clear()

    def reserve(self, owners: Mapping[str, Any]) -> None:
        """Have all ready for the first save of these owners, so that it is as quick as those after it: at once.

        Never needed; all processes call it when the optimizer has made its state, after a first step.
        """
        every = self.as_owners(owners)
        self.prepare()
        owner_states.prepare(every)
        if self._world.is_main:
            with contextlib.suppress(StateError):  # The save will tell, if it is still so.
                self._writer.block.reserve(owner_states.capture(every)[1])

    @property
    def busy(self) -> bool:
        """Whether a save is under way."""
        return self._writer.busy

    def collect(self) -> Path | None:
        """The prefix of a save that has become durable since it was last asked for, or None; does not wait.

        Raises SaveError if that save failed.
        """
        return self._noted(self._writer.collect())

    def wait(self) -> Path | None:
        """Wait until the save under way is durable, and return its prefix; None if there is none.

        Raises SaveError if it failed.
        """
        return self._noted(self._writer.collect(wait=True))

    def restore(
        self,
        owners: Mapping[str, Any],
        resume: str = AUTO,
        *,
        allow_inexact: bool = False,
        wanted: Wanted = lambda differences: (),
        steps_per_epoch: int | None = None,
        explain: Explain = explain_to_program,
    ) -> Restored | None:
        """Bring the owners back to a checkpoint; None if there is none and `resume` is `auto`.

        `resume` is `auto` (the newest whole checkpoint of this run), a prefix, one of its files, or a run
        folder. A prefix may be one that another program saved, which is never exact; where a run of it stands follows
        from `steps_per_epoch`. `explain` puts into words that something differs. Raises CheckpointError for a named
        checkpoint that is missing or damaged, or if there are checkpoints and none is whole; InexactResumeError if
        something differs, `allow_inexact` is not set, and it is not all `wanted`.
        """
        self.prepare()
        every, prefix = self.as_owners(owners), named_prefix(resume)
        if resume not in (AUTO, MEMORY) and not Path(resume).is_dir() and is_foreign(prefix):
            restored = restore_foreign(prefix, every, allow_inexact, steps_per_epoch)
            self._goes_on_beside_the_newest()
            self.lineage.resumed(restored.prefix, restored.step, restored.differences)
            return restored
        loaded, passed_over = self._choose(resume)
        on_disk = loaded
        if resume in (AUTO, MEMORY):
            kept = self.newest_in_memory(loaded)
            if kept is not None and (resume == MEMORY or self._fits_everywhere(every, kept)):
                loaded = kept
        else:
            self._goes_on_beside_the_newest()
        if loaded is None:
            self.forget_memory()
            return None
        found = owner_states.differences(every, loaded.record)
        changes = list(wanted(found))
        differences = [one for one in found if one not in changes]
        if differences and not allow_inexact:
            command = Lineage(loaded.record.lineage).start.get("command", "")
            refusal = Refusal(loaded.prefix, differences, changes, loaded.record.owners, str(command))
            raise InexactResumeError(explain(refusal))
        owner_states.restore(every, loaded.record.owners, loaded.tensors)
        self.lineage = Lineage(loaded.record.lineage)
        if changes:
            self.lineage.changed(loaded.prefix, loaded.record.step, changes)
        if loaded is on_disk:
            self.forget_memory()
        self.lineage.resumed(loaded.prefix if loaded is on_disk else Path("memory"), loaded.record.step, differences)
        after = (on_disk.prefix, on_disk.record.step) if on_disk is not None else None
        in_memory = InMemory(after) if loaded is not on_disk else None
        return Restored(loaded.prefix, loaded.record.step, passed_over, differences, changes, in_memory)

    def roll_back(self, owners: Mapping[str, Owner], prefix: Path) -> None:
        """Bring the owners back to this run's own checkpoint; the lineage goes on as it is.

        Raises CheckpointError if that checkpoint is not whole.
        """
        loaded, _ = self._choose(str(prefix))
        assert loaded is not None
        owner_states.restore(self.as_owners(owners), loaded.record.owners, loaded.tensors)

    def start_over(self, overwrite: bool = False) -> int:
        """Clear the way for a run from the beginning; returns how many checkpoints were removed.

        Raises CheckpointError if there are checkpoints of this name and `overwrite` is not set.
        """
        self.prepare()
        self._newest = None
        if not self._world.is_main:
            return 0
        removed = self._home.clear(overwrite)
        self.forget_memory()
        return removed

    def found(self) -> list[Found]:
        """This run's checkpoints, the last written first."""
        return self._home.found()

    def prepare(self) -> None:
        """Become the only writer of this run, and tidy up what dead processes left behind.

        Raises CheckpointError if a living process holds the run, SaveError if the folder cannot be written.
        """
        if self._world.is_main:
            self._home.take(self._writer.start)

    def close(self) -> None:
        """Finish the save under way, and let another process write this run.

        Raises SaveError if that save failed, or if an old checkpoint could not be removed after it.
        """
        try:
            self.wait()
        finally:
            self._memory.close(self._newest)
            try:
                self._writer.close()
            finally:
                self._home.release()

    def _goes_on_beside_the_newest(self) -> None:
        """The run starts from what a person has named; what it had in memory continues something else."""
        if self._world.is_main:
            self._newest = _UNKNOWN
        self.forget_memory()

    def _fits_everywhere(self, owners: Owners, kept: Loaded) -> bool:
        """Whether nothing differs from that save in memory, in any process."""
        return all(self._world.gather(not owner_states.differences(owners, kept.record)))

    def _header(self, step: int, epoch: int | None, phase: str | None) -> dict[str, Any]:
        events = {"exact": self.lineage.is_exact, "lineage": self.lineage.events}
        return {"step": step, "epoch": epoch, "phase": phase, **events}

    def _noted(self, prefix: Path | None) -> Path | None:
        if prefix is not None and run_of(prefix) == self.name:
            self._newest = prefix
        return prefix

    def _choose(self, resume: str) -> tuple[Loaded | None, list[str]]:
        return choose_together(self._world, partial(self._home.choose, AUTO if resume == MEMORY else resume))
