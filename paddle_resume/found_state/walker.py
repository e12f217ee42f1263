"""Accounts for everything that can be reached from a run's roots: looks at it, writes it down, and puts it back."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from paddle_resume.errors import CheckpointError
from paddle_resume.found_state.capture import AT_START, Capture
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.function_kinds import FunctionKind
from paddle_resume.found_state.kind import is_a
from paddle_resume.found_state.known import Known, is_below, parameter_names
from paddle_resume.found_state.leaves import Names
from paddle_resume.found_state.node import Node
from paddle_resume.found_state.object_kinds import ClassKind
from paddle_resume.found_state.plan import FORMAT, Plan
from paddle_resume.found_state.problem import Problem
from paddle_resume.found_state.process_settings import SettingsKind
from paddle_resume.found_state.program_globals import ModuleKind
from paddle_resume.found_state.refusals import Refusals
from paddle_resume.found_state.samples import Samples
from paddle_resume.found_state.start_values import MANY, Change, changes, start_values
from paddle_resume.found_state.stored_arrays import ArraySink, ArraySource, KeptArrays
from paddle_resume.found_state.survey import Survey
from paddle_resume.found_state.walk import Walk

_ATTRIBUTE = re.compile(r"[^.\[]+")
_NEXT = re.compile(r"\.([^.\[]+)")
_MOST_WHOLE = 1 << 16  # bytes of an array that is saved though it has not changed
_KEPT_EACH, _KEPT = 1 << 20, 1 << 26  # bytes of arrays that are kept as they were at the start


def _is_kept_whole(node: Node) -> bool:
    if isinstance(node.kind, (ClassKind, ModuleKind, FunctionKind, SettingsKind)) or is_a(node.thing, MANY):
        return False
    return not (node.is_own or (isinstance(node.thing, np.ndarray) and node.thing.nbytes > _MOST_WHOLE))


class Walker:
    """Looks at what can be reached from `roots`, by default all of which it saves itself.

    The first look, made when it is built, is the start: what has not moved since is not saved, since the program
    makes it again. So it has to be built when all that the program makes is in place, at the same point in each
    process of a run, before anything is restored. A resume then leads to just the same objects, each identical or
    equal to what it was, also where several refer to one.

    Args:
        roots: objects by name; names are the beginnings of all paths. `walker.roots` may be changed later: plain
            values among them are saved and put back there.
        claims: what other owners save.
        earlier: a walker over some of the same objects, which saw them when they were new.
        remade: of the roots those that are gone through again on a resume, from what they held at the beginning. What
            they get on the way and no record can hold, such as an iterator, they get again: it is left alone.
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        claims: Optional[Claims] = None,
        earlier: Optional[Walker] = None,
        remade: Collection[str] = (),
    ) -> None:
        claims = claims or Claims()
        # The global generators belong to whoever owns the run's randomness, also where an object refers to them.
        claims.object(random._inst, "rng")
        claims.object(np.random.mtrand._rand, "rng")
        self._claims = claims
        self._remade = remade
        self._walk = Walk({**roots, **claims.roots}, claims)
        if earlier is not None:
            self._walk.adopt(earlier._walk)
        order = self._walk.run()
        new = self._walk.settle(order)
        self._kept = KeptArrays(_KEPT_EACH, _KEPT)
        self._keep(new)
        self.begins = False
        """Whether somebody is going to call `begin`, so that a restore may wait for it."""
        self._has_begun = False
        self._restored: list[Node] = []
        self.waits = False
        """Whether the last restore left out what is made by `begin`."""
        self._learn_names()
        self._samples = Samples(order, self._known)
        self._start = start_values(self._walk.started(), Names(self._names))

    def before_begin(self) -> None:
        """What is new now is of the restore before, and not of the callbacks that are about to be called."""
        self._restored = self._walk.new()

    def begin(self) -> None:
        """Callbacks have made what they make in each process as a run begins, such as a copy of the model.

        From now on it is known by its path, as what was there at the start, and is always saved whole: in the next
        process it is made anew from whatever that has been brought to. Raises StateError for what cannot be saved.
        """
        self._keep(self._walk.settle_late({id(node.thing) for node in self._restored}))
        self._restored = []
        self._has_begun = True
        self._learn_names()
        self.survey().require_capturable()

    def save_whole(self) -> None:
        """Save what was there at the start whole, also where nothing has moved in it; but what is large.

        It is for programs of which the next process may begin otherwise, such as one that reads what it has written
        itself. Of Layers, classes, large arrays and containers of data the record tells only how they began; what is
        set in the process, such as its environment, is the process's own.
        """
        self._walk.keep_whole(node for node in self._walk.started() if _is_kept_whole(node))

    def _keep(self, nodes: Sequence[Node]) -> None:
        """Keep what they hold besides their values, for those that will have moved only in the next process."""
        for node in nodes:
            if not node.owner and node.start is not None and not node.problem:
                try:
                    node.start.saved = node.kind.save(node.thing, self._kept, node.path, self._walk.claimed)
                except Problem:
                    continue  # Then it can be put back only by a process in which it has not moved.

    def _learn_names(self) -> None:
        self._known = Known(self._walk, ArraySource({}))
        self._names = parameter_names(self._walk)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A walker belongs to its very objects: a copy of one of them begins without."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(None), ())

    @property
    def roots(self) -> dict[str, Any]:
        """The roots by name."""
        return self._walk.roots

    def survey(self) -> Survey:
        """What can be reached now."""
        return Survey(self._walk.run(), self._walk.claimed)

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What has moved, for a record and for a file; raises StateError naming each thing that cannot be saved.

        The arrays may be views of live memory: they are to be copied before the run goes on.
        """
        sink, refusals = ArraySink(), Refusals()
        self._walk.run()
        names = Names(self._names, sink, self._known.find_class)
        record = Capture(self._walk, self._known, names, refusals).record()
        self._samples.check(refusals)
        if refusals.found and self._leave_alone(refusals.found):
            return self.capture()
        refusals.require_none()
        told = [[entry.path, entry.what] for entry in Survey(self._walk.suspects, self._walk.claimed).told]
        late = sorted(node.path for node in self._walk.started() if node.is_late) if self.begins else []
        found = {"format": FORMAT, "start": self._start, **record, "told": told}
        return {**found, **({"late": late} if late else {})}, sink.arrays

    def _leave_alone(self, refused: Collection[str]) -> bool:
        """Whether all of this is made again, in attributes that were not there at the start; they are left out then."""
        left: dict[str, set[str]] = {}
        for path in refused:
            name = next((name for name in self._remade if path.startswith(f"{name}.")), None)
            attribute = _ATTRIBUTE.match(path[len(name) + 1 :]) if name is not None else None
            if name is None or attribute is None:
                return False
            start = self._walk.node_of(self.roots[name]).start
            if start is None or attribute[0] in (start.labels or ()):
                return False
            left.setdefault(name, set()).add(attribute[0])
        for name, attributes in left.items():
            self._claims.attributes(self.roots[name], tuple(attributes), "data")
            self._walk.forget(self._walk.node_of(self.roots[name]))
        return True

    def restore(
        self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, without: Collection[str] = ()
    ) -> None:
        """Put everything back as it was when `capture` gave this, but what is at the paths `without` and below.

        Before `begin` what is made by then is left out, and is put back by another restore after it. Raises
        CheckpointError, with nothing changed, if something in the record is not whole or does not fit.
        """
        waits = self.begins and not self._has_begun and isinstance(record, Mapping)
        late = record.get("late", ()) if waits else ()
        known = {node.path for node in self._walk.started()}
        not_yet = [path for path in late if path not in known] if isinstance(late, (list, tuple)) else []
        self.waits = bool(not_yet)
        try:
            plan = Plan(self._walk, record, ArraySource(arrays), {*without, *not_yet})
        except CheckpointError:
            if not_yet:
                return  # Something leads to it that cannot do without; what is wrong otherwise shows after `begin`.
            raise
        plan.carry_out()

    def changes(self, record: Mapping[str, Any]) -> list[Change]:
        """What the program builds otherwise than when the record was made, and the record does not put back.

        Raises CheckpointError for a record that is not whole.
        """
        start, moved = record.get("start"), record.get("moved")
        try:
            if type(start) is not dict or type(moved) is not dict:
                raise Problem("a record tells of the start, and what has moved since")
            return [change for change in changes(start, self._start) if not _is_put_back(change, moved)]
        except Problem as problem:
            raise CheckpointError(
                f"The checkpoint's record of what was found in the run is damaged: {problem}."
            ) from None


def _is_put_back(change: Change, moved: Mapping[str, Any]) -> bool:
    if change.path in moved and not change.is_another_thing:
        return True
    return any(
        type(entry) is dict
        and change.path != parent
        and is_below(change.path, (parent,))
        and _has_another_there(entry, change.path, len(parent))
        for parent, entry in moved.items()
    )


def _has_another_there(entry: Mapping[str, Any], path: str, length: int) -> bool:
    """Whether what is saved of a thing has something else than at the start on this path, which goes on at `length`."""
    parts = (entry.get(name) for name in ("values", "labels", "gone"))
    cells, labels, gone = (part if type(part) is list else [] for part in parts)
    if attribute := _NEXT.match(path, length):
        if attribute[1] in gone:
            return True
        cells = [cell for cell, label in zip(cells, labels) if label == attribute[1]]
        if not cells:
            return False  # It is not among what has moved.
    # What is saved whole also names what is there from the start, whatever that has become.
    at_start = [cell[1] for cell in cells if type(cell) is list and cell[:1] == [AT_START] and len(cell) == 2]
    return not is_below(path, [place for place in at_start if type(place) is str])
