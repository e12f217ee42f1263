"""What it means to own state: the protocols that owners meet, all of which the checkpointer tells apart by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Callable, Protocol, Union, runtime_checkable

from typing_extensions import get_protocol_members

from paddle_resume.differences import Difference
from paddle_resume.errors import StateError


class _ByNames(type(Protocol)):  # type: ignore[misc]
    """Has `isinstance` look for a protocol's names and no further: each save asks it of every owner several times, and
    what Python does beyond that takes thirty times as long."""

    def __instancecheck__(cls, thing: Any) -> bool:
        names = _names_of(cls)
        return all(hasattr(thing, name) for name in names) if names else super().__instancecheck__(thing)


@cache
def _names_of(cls: type) -> frozenset[str]:
    is_protocol = vars(cls).get("_is_protocol", False)
    return get_protocol_members(cls) if is_protocol else frozenset()


@runtime_checkable
class Stateful(Protocol, metaclass=_ByNames):
    """Whoever owns state that a resumed run needs.

    `state_dict()` returns nested dicts and lists of numbers, strings, None and small NumPy arrays, which are stored in
    the commit record. It reads, and has no effect on anything.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def set_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class HasFile(Stateful, Protocol):
    """A Stateful whose `state_dict()` is a flat dict of tensors, kept in the file `<prefix><suffix>` of its own."""

    suffix: str


@runtime_checkable
class Compared(Protocol, metaclass=_ByNames):
    """Whoever can tell whether a saved state would go on bit for bit in this process.

    All are asked before anything is restored. One without `set_state_dict` is recorded and compared, never restored.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def differences(self, state: dict[str, Any]) -> Sequence[Union[Difference, str]]: ...


@runtime_checkable
class PreparesSave(Protocol, metaclass=_ByNames):
    """An owner for which something has to happen before its state can be read for a save.

    With several processes all of them call `prepare_save()`, so this is where owners whose state lies in several
    processes bring it together. It may cross the network, or write files; `state_dict()` does neither.
    """

    def prepare_save(self) -> None: ...


@runtime_checkable
class WritesFiles(Protocol, metaclass=_ByNames):
    """An owner whose state tells how far files are written that it writes as it goes.

    What `prepare_save()` has handed to the system is made durable before any checkpoint that tells of it: by whoever
    writes the checkpoint, so that training waits for no disk.
    """

    def written_files(self) -> Sequence[Path]: ...


@runtime_checkable
class MayBeAbsent(Protocol, metaclass=_ByNames):
    """An owner that leaves nothing in a checkpoint where its `state_dict()` is empty.

    A checkpoint without it, such as one of a version that did not know it, is no difference.
    """

    may_be_absent: bool

    def state_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class Returns(Protocol, metaclass=_ByNames):
    """An owner that can be brought back without a checkpoint otherwise than by its `state_dict()`.

    `as_now()` gives what brings it back to where it is now.
    """

    def as_now(self) -> Callable[[], None]: ...


Owner = Union[Stateful, Compared]


class Owners(Mapping[str, Owner]):
    """The owners of a run's state by name, in the order in which they are captured and restored."""

    def __init__(self, **owners: Owner) -> None:
        self._owners: dict[str, Owner] = {}
        self._that_are: dict[Any, dict[str, Any]] = {}
        for name, owner in owners.items():
            self.add(name, owner)

    def add(self, name: str, owner: Owner) -> None:
        """Add `owner`; raises StateError if the name is taken or it meets neither Stateful nor Compared."""
        if name in self._owners:
            raise StateError(
                f"Two owners of state are called {name!r}: {_kind(self._owners[name])} and {_kind(owner)}. "
                "One of them would overwrite the other in the checkpoint; give one another name."
            )
        if not isinstance(owner, (Stateful, Compared)):
            raise StateError(
                f"{name!r} ({_kind(owner)}) has no state_dict() and set_state_dict(), so its state cannot be "
                "saved; give it both, or do not register it."
            )
        self._owners[name] = owner
        self._that_are.clear()

    def update(self, owners: Mapping[str, Owner]) -> None:
        """Add each of `owners`; see `add`."""
        for name, owner in owners.items():
            self.add(name, owner)

    @property
    def files(self) -> dict[str, HasFile]:
        """Those with a file of their own, by its suffix."""
        return {owner.suffix: owner for owner in self.that_are(HasFile).values()}

    def that_are(self, protocol: Any) -> Mapping[str, Any]:
        """Those that meet a protocol, by name; asked of each once, since an owner is what it is when it is added."""
        if protocol not in self._that_are:
            self._that_are[protocol] = {n: owner for n, owner in self._owners.items() if isinstance(owner, protocol)}
        return self._that_are[protocol]

    def __getitem__(self, name: str) -> Owner:
        return self._owners[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)


def _kind(owner: object) -> str:
    return f"{type(owner).__module__}.{type(owner).__qualname__}"
