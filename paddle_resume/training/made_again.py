"""Compares the steps that a resume makes again with how they came out the first time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import paddle

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.data.batch import Batch
from paddle_resume.errors import InexactStepError
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.storage.fingerprint_file import Fingerprint
from paddle_resume.training.batch_digest import batch_digest
from paddle_resume.training.kept_fingerprints import KeptFingerprints


class _Step(NamedTuple):
    """A step whose loss has not been read yet."""

    step: int
    data: int
    random: int


class _Difference(NamedTuple):
    """That a step came out otherwise; of several in all processes the least is the first."""

    step: int
    cause: int
    text: str


class MadeAgain:
    """Takes a fingerprint of each step, and compares it with the one of the first time, if the step was made before.

    A step is the same if its data are, where the generators stand after it, and its loss. Losses are taken where the
    run reads them anyway, so that a GPU is waited for at no step; before a save all have been read, so that nothing
    is saved which came out otherwise. While steps are made again all processes learn at the end of each whether one
    of them has found a difference, and stop or go on together.

    Args:
        back: how many steps before the newest checkpoint are to be known as well.
        tell: says what a person should know.
        prints: gives the two numbers of the last step where no process knows all of its data: what they are, and where
            the generators stood; None: they are those of this process.
    """

    def __init__(
        self,
        engine: CheckpointEngine,
        random: RandomStreams,
        world: World,
        back: int,
        tell: Callable[[str], None],
        prints: Optional[Callable[[], tuple[int, int]]] = None,
    ) -> None:
        self._engine = engine
        self._random = random
        self._world = world
        self._tell = tell
        self._prints = prints
        self.kept = KeptFingerprints(engine.folder, engine.name, world, back, tell)
        self._looks_at_values = paddle.device.get_device() == "cpu"
        self._allow_inexact = False
        self._course = 0
        self._waiting: deque[_Step] = deque()
        self._losses: dict[int, float] = {}
        self._known: dict[int, Fingerprint] = {}
        """How the steps came out that are to be made again."""
        self._last = -1
        """The last of them that any process knows; -1 if there are none."""
        self._same: list[Fingerprint] = []
        self._difference: Optional[_Difference] = None

    def begin(self, step: int, *, resumed: bool, allow_inexact: bool = False) -> None:
        """A run that has made `step` steps begins, or goes on from a checkpoint."""
        self._allow_inexact = allow_inexact
        self._waiting.clear()
        self._losses.clear()
        if resumed:
            self.go_on(step)
        else:
            self._take_course()
            self._known, self._last = {}, -1
            self.kept.forget()

    def go_on(self, step: int) -> None:
        """The run goes on from a checkpoint of `step` steps, after a rollback along another course."""
        self._take_course()
        self._waiting.clear()
        self._losses.clear()
        self._same, self._difference = [], None
        self._known = {one.step: one for one in self.kept.begin(step, self._course)}
        self._last = max(self._world.gather(max(self._known, default=-1)))

    def digest(self, batches: Sequence[Batch]) -> Optional[int]:
        """What tells whether the data of a step are the same, taken before it; None if no step can be made again."""
        if not self.kept.wanted:
            return None
        return batch_digest(batches, self._looks_at_values) if self._prints is None else 0

    def add_loss(self, step: int, loss: float) -> None:
        """The loss of a step has been read."""
        if self.kept.wanted:
            self._losses[step] = loss

    def is_last(self, step: int) -> bool:
        """Whether this is the last step to be made again, at whose end its loss is needed."""
        return step == self._last

    def step_made(self, step: int, data: Optional[int]) -> None:
        """A step was made of data with that digest; raises InexactStepError if it came out otherwise."""
        if data is not None:
            prints = (data, self._random.fingerprint()) if self._prints is None else self._prints()
            self._waiting.append(_Step(step, *prints))
            self._take_losses()
            self._settle(step)

    def before_save(self, step: int) -> None:
        """All losses were read, and a run that has made `step` steps is to be saved; raises InexactStepError."""
        self._take_losses()
        self._settle(step - 1)

    def saving(self, tag: str, step: int) -> None:
        """The save of this tag has begun, and the one before it has ended."""
        self.kept.saving(self._engine.prefix(tag), step, self._course)

    def stop(self) -> None:
        """The run ends here for now, and all its saves have ended."""
        self.kept.stop(self._course)

    def finish(self) -> None:
        """The run is done: nothing will be made again."""
        self._tell_the_same()
        self.kept.forget()

    def _take_course(self) -> None:
        self._course = self._world.broadcast_object(self._engine.lineage.course)

    def _take_losses(self) -> None:
        new: list[Fingerprint] = []
        while self._waiting and self._waiting[0].step in self._losses and self._difference is None:
            step, data, random = self._waiting[0]
            now, before = Fingerprint(step, self._course, self._losses[step], data, random), self._known.get(step)
            self._difference = _difference(before, now)
            if self._difference is not None:
                break
            (new if before is None else self._same).append(now)
            del self._losses[step]
            self._waiting.popleft()
        self.kept.keep(new)

    def _settle(self, step: int) -> None:
        """Agree with the other processes on what was found by the end of `step`."""
        if self._last < 0:
            return
        found = [one for one in self._world.gather(self._difference) if one is not None]
        if found:
            self._answer(min(found))
        elif step >= self._last:
            self._last = -1
            self._tell_the_same()

    def _answer(self, found: _Difference) -> None:
        text = f"Step {found.step} (counted from 0) was made again and came out otherwise: {found.text}."
        same = f" {_steps(self._same)} came out the same before it." if self._same else ""
        if not self._allow_inexact:
            raise InexactStepError(
                f"{text}{same} The run is no longer the one that was interrupted; nothing that differs was saved, and "
                "the checkpoints are as they were. Look for the reason with `paddle-resume prove`; or go on all the "
                "same with --allow-inexact (the run's lineage will say so)."
            )
        self._engine.lineage.inexact(found.step, text)
        self._tell(f"{text}{same} The run goes on, inexact from here on.")
        self._known, self._last, self._same, self._difference = {}, -1, [], None
        self._take_course()
        self._take_losses()

    def _tell_the_same(self) -> None:
        if self._same:
            self._tell(f"Made again: {_steps(self._same)}, the same bits.")
        self._known, self._same = {}, []


def _difference(before: Optional[Fingerprint], now: Fingerprint) -> Optional[_Difference]:
    """What differed first, in the order in which one follows from the other; None if nothing did, or is known."""
    if before is None or before.packed() == now.packed():
        return None
    if before.data != now.data:
        return _Difference(now.step, 0, "its data are not the same")
    if before.random != now.random:
        return _Difference(now.step, 1, "its data are the same, what it drew from the generators is not")
    return _Difference(
        now.step,
        2,
        "its data and what it drew from the generators are the same, its loss is not "
        f"({before.loss!r} -> {now.loss!r})",
    )


def _steps(same: Sequence[Fingerprint]) -> str:
    """`218-240`, or how many of them if some between are not known."""
    first, last = same[0].step, same[-1].step
    if len(same) < last - first + 1:
        return f"{len(same)} of {first}-{last}"
    return f"{first}-{last}" if last > first else f"{first}"
