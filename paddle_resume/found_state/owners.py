"""The owners of what the walker saves: one with the record's part, one with the file of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from paddle_resume.differences import ABSENT, ConfigScope, Difference
from paddle_resume.errors import StateError
from paddle_resume.found_state.alike import Arrays, are_same, found_alike
from paddle_resume.found_state.known import is_below
from paddle_resume.found_state.leaves import same_cells
from paddle_resume.found_state.start_values import Change
from paddle_resume.found_state.walker import Walker
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Stateful


class Origin(NamedTuple):
    """What decides how a root is built: a part of a config, and an argument in Python."""

    scope: Optional[ConfigScope]
    argument: str
    decides: bool = True
    """Whether whatever is set otherwise here is taken to change the training. Where not, it does if its class is known,
    or if something that had moved cannot be put back."""


_NOWHERE = Origin(None, "")
_KNOWN = ("paddle.", "paddle_resume.")  # classes whose settings decide what they do
_SHOWN = 6
_ASIDE = "before the end: "
_FILLED = "filled by "
_NO_ARRAYS: Arrays = {}


class FoundArrays:
    """Owner of the larger arrays and tensors, which are in a file if there are any. It is restored before FoundState.

    Those of another rank than 0 are called `<name>@<rank>`, if rank 0 does not have the same.
    """

    suffix = ".pdfound"
    may_be_absent = True

    def __init__(self) -> None:
        self.now: Arrays = {}
        self.aside: Arrays = {}
        """Copies from before the run began to end; they stay until a restore."""
        self.moved_since: Callable[[], Arrays] = dict
        """Gives what else has moved since then, as it was."""
        self._restored: Arrays = {}

    def state_dict(self) -> dict[str, Any]:
        aside = {**self.moved_since(), **self.aside}
        return {**self.now, **{f"{_ASIDE}{name}": array for name, array in aside.items()}}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the arrays until FoundState takes them."""
        self._restored = state

    def take(self) -> Arrays:
        """What was restored last, and not taken yet; what belongs to an end that had begun is put aside."""
        given, self._restored = self._restored, {}
        self.moved_since = dict
        self.aside = {name[len(_ASIDE) :]: array for name, array in given.items() if name.startswith(_ASIDE)}
        return {name: array for name, array in given.items() if not name.startswith(_ASIDE)}


class FoundState:
    """Owner of everything that is reachable from the walker's roots and nobody else's, in each process by itself.

    It is restored before the owners of what it gives room for: a buffer that was registered late is made here, and
    filled by the model's owner.

    Args:
        walker: finds the state.
        arrays: the owner of the file.
        world: the processes; in a world of another size, ranks that were not there before get what rank 0 had.
        origins: for each place whose settings are compared, such as `callback` for all of them, what decides it.
        is_elastic: whether all processes have to hold the same, since their number may change.
        has_server: whether no batch goes through rank 0's model, in which so nothing settles that does in the others'.
    """

    may_be_absent = True

    def __init__(
        self,
        walker: Walker,
        arrays: FoundArrays,
        world: Optional[World] = None,
        origins: Optional[Mapping[str, Origin]] = None,
        is_elastic: bool = False,
        has_server: bool = False,
    ) -> None:
        self._walker = walker
        self._arrays = arrays
        self._world = world or World()
        self._origins = origins or {}
        self._is_elastic = is_elastic
        self._has_server = has_server
        self.without: set[str] = set()
        """Paths that a restore leaves alone, with all below: `changes` told that another thing is there, or none."""
        self.requirements: list[Callable[[Any, Arrays], None]] = []
        """Each raises StateError for what is found in a state in which no resume could go on."""
        self._ranks: list[Any] = []
        self.set_otherwise: list[Change] = []
        """Settings of the user's own classes that `differences` found to be others, and of which nobody else knows
        whether they decide anything."""

    def prepare_save(self) -> None:
        """Bring together what is found in all processes; raises StateError naming each thing that cannot be saved."""
        if not self._world.is_single:
            self._look()

    def state_dict(self) -> dict[str, Any]:
        """What is found now, and puts the arrays into their owner; with several processes, by `prepare_save`.

        Raises StateError naming each thing that cannot be saved.
        """
        if self._world.is_single:
            self._look()
        return {"ranks": self._ranks} if self._ranks else {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError, with nothing changed, if something does not fit.

        What `changes` has told to be another thing here, or none, is left as it is: whoever asked goes on without it.
        """
        self._restore(state, self._arrays.take())

    def changes(self, state: dict[str, Any]) -> list[Change]:
        """What the program builds otherwise than when `state` was saved."""
        found = self._walker.changes(self._of_this_rank(state)[0])
        self.without = {change.path for change in found if change.is_another_thing}
        return found

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        found = []
        self.set_otherwise = []
        moved = self._of_this_rank(state)[0]["moved"]
        for change in self.changes(state):
            origin = next((self._origins[place] for place in self._origins if is_below(change.path, [place])), None)
            if origin is None:
                continue
            is_lost = change.is_another_thing and any(is_below(path, [change.path]) for path in moved)
            if not (origin.decides or is_lost or change.holder.startswith(_KNOWN)):
                self.set_otherwise.append(change)
                continue
            found.append(_difference(change, origin))
        return found

    @property
    def note(self) -> str:
        """What a person should know after a resume, or an empty text."""
        if not self.set_otherwise:
            return ""
        shown = [str(_difference(each)) for each in self.set_otherwise[:_SHOWN]]
        more = len(self.set_otherwise) - _SHOWN
        return (
            f"Set otherwise than when the checkpoint was saved: {'; '.join(shown)}"
            f"{f'; and {more} more' if more > 0 else ''}. The run goes on as if untouched only if that decides nothing."
        )

    def _look(self) -> None:
        self._ranks, self._arrays.now = self._gathered()

    def _gathered(self) -> tuple[list[Any], Arrays]:
        refused = ""
        record: Any = None
        found: Arrays = {}
        try:
            record, found = self._walker.capture()
            for require in self.requirements:
                require(record, found)
        except StateError as error:
            refused = str(error)
        every = self._world.gather((record, found, refused))
        for _, _, refused in every:
            if refused:  # by all processes, so that none waits for another
                raise StateError(refused)
        if self._is_elastic:
            first, arrays = found_alike([(record, arrays) for record, arrays, _ in every], self._has_server)
            return [first], dict(arrays)
        first, arrays = every[0][0], dict(every[0][1])
        ranks = [first]
        for rank, (other, others, _) in enumerate(every[1:], 1):
            ranks.append(None if same_cells(other, first) else other)
            own = {name: array for name, array in others.items() if not are_same(array, every[0][1].get(name))}
            arrays.update({f"{name}@{rank}": array for name, array in own.items()})
        return ranks, arrays

    def _restore(self, state: Mapping[str, Any], arrays: Arrays) -> None:
        record, rank = self._of_this_rank(state)
        mark = f"@{rank}"
        own = {name[: -len(mark)]: array for name, array in arrays.items() if rank and name.endswith(mark)}
        self._walker.restore(record, {**arrays, **own}, without=self.without)

    def _of_this_rank(self, state: Mapping[str, Any]) -> tuple[Any, int]:
        ranks = state["ranks"]
        rank = self._world.rank if self._world.rank < len(ranks) else 0
        return (ranks[0] if ranks[rank] is None else ranks[rank]), rank


class StateBeforeTheEnd(FoundState):
    """What was found when a run began to end: put aside then, and saved from then on with all else.

    `filled` are the owners, such as the model's, that fill the tensors for which this gives room. A callback may change
    these too as the run ends; what it changed is put aside as well.
    """

    def __init__(
        self,
        walker: Walker,
        arrays: FoundArrays,
        world: World,
        filled: Mapping[str, Stateful],
        is_elastic: bool = False,
        has_server: bool = False,
    ) -> None:
        super().__init__(walker, arrays, world, is_elastic=is_elastic, has_server=has_server)
        self._filled = filled

    def _look(self) -> None:
        self._ranks, arrays = self._gathered()
        self._arrays.aside = {name: array.copy() for name, array in arrays.items()}
        self.watch()

    def watch(self) -> None:
        """From here on what moves in tensors is put aside as it is now; after a restore this is to be called again."""
        before = {name: array.copy() for name, array in self._tensors().items()}

        def moved_since() -> Arrays:
            now = self._tensors()
            return {name: array for name, array in before.items() if not are_same(array, now.get(name))}

        self._arrays.moved_since = moved_since

    def set_state_dict(self, state: dict[str, Any]) -> None:
        arrays, self._arrays.aside = self._arrays.aside, {}
        found = {name: array for name, array in arrays.items() if not name.startswith(_FILLED)}
        put_back(lambda: self._restore(state, found), self._filled, arrays)

    def _tensors(self) -> Arrays:
        return _tensors(self._filled)


def put_back(restore: Callable[[], None], filled: Mapping[str, Stateful], arrays: Arrays = _NO_ARRAYS) -> None:
    """Restore what was found without a checkpoint: the tensors that it gives room for keep what they hold now.

    Those among `arrays` get what is there.
    """
    # A tensor that another one replaces is empty until it is filled.
    given = {**{name: array.copy() for name, array in _tensors(filled).items()}, **arrays}
    restore()
    for label, owner in filled.items():
        names = [name for name in owner.state_dict() if f"{_FILLED}{label} {name}" in given]
        owner.set_state_dict({name: given[f"{_FILLED}{label} {name}"] for name in names})


def all_as_now(walker: Walker, filled: Mapping[str, Stateful]) -> Callable[[], None]:
    """What brings all that the walker finds back to where it is now, but for what `filled` fill."""
    record, arrays = walker.capture()
    kept = {name: array.copy() for name, array in arrays.items()}
    return lambda: put_back(lambda: walker.restore(record, kept), filled)


def _tensors(filled: Mapping[str, Stateful]) -> Arrays:
    return {
        f"{_FILLED}{label} {name}": array
        for label, owner in filled.items()
        for name, array in owner.state_dict().items()
        if isinstance(array, np.ndarray)
    }


def _difference(change: Change, origin: Origin = _NOWHERE) -> Difference:
    before, after = (ABSENT if value is None else value for value in (change.before, change.after))
    return Difference(change.path, before, after, origin.scope, origin.argument, follows=True)
