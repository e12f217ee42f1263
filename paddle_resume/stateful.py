"""What it means to own state: `state_dict()` gives it, `set_state_dict()` takes it back, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from paddle_resume.errors import StateError


@runtime_checkable
class Stateful(Protocol):
    """Whoever owns state that a resumed run needs.

    `state_dict()` returns nested dicts and lists of numbers, strings, None and small NumPy arrays (they are
    stored in the commit record). An owner with a class attribute `suffix` (".pdparams") returns a flat dict
    of tensors instead, and gets a file of its own beside the record. An owner that can tell whether a state
    would continue bit for bit in this process offers `differences(state) -> list[str]`, one line for each
    thing that differs, old and new value in it; they are asked before anything is restored.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def set_state_dict(self, state: dict[str, Any]) -> None: ...


class Owners(Mapping[str, Stateful]):
    """The owners of a run's state by name, in the order in which they are captured and restored."""

    def __init__(self, **owners: Stateful) -> None:
        self._owners: dict[str, Stateful] = {}
        for name, owner in owners.items():
            self.add(name, owner)

    def add(self, name: str, owner: Stateful) -> None:
        """Add `owner`; raises StateError if the name is taken or it has no state methods."""
        if name in self._owners:
            raise StateError(
                f"Two owners of state are called {name!r}: {_kind(self._owners[name])} and {_kind(owner)}. "
                "One of them would overwrite the other in the checkpoint; give one another name."
            )
        if not isinstance(owner, Stateful):
            raise StateError(
                f"{name!r} ({_kind(owner)}) has no state_dict() and set_state_dict(), so its state cannot be "
                "saved; give it both, or do not register it."
            )
        self._owners[name] = owner

    def __getitem__(self, name: str) -> Stateful:
        return self._owners[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)


def _kind(owner: object) -> str:
    return f"{type(owner).__module__}.{type(owner).__qualname__}"
