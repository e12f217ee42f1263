"""Running means of what a program logs by name, such as the losses of several networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from numbers import Real
from operator import itemgetter
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import ConfigError
from paddle_resume.parallel.world import World

_TAKEN = ("loss", "lr")
_OUTSIDE = 1 << 62  # A place after all shares.


class RunningScalars:
    """The means since the last reset of each name's values; tensors are read later, as losses are.

    The values of several processes are added in the order of the steps (or of the rounds of an evaluation) and, within
    one, of the ranks, whenever `gather` brings them together: an additional save alters no bit.

    With `by_share`, which is for elastic runs, the order within a step is that of the shares of its batch, whichever
    process holds them. What is logged outside of a share, as a callback does in each process, counts once: as rank 0
    logs it, after the shares.
    """

    def __init__(self, world: World, by_share: bool = False) -> None:
        self._world = world
        self._by_share = by_share
        self._turn = 0
        self._place = _OUTSIDE if by_share else world.rank
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._pending: list[tuple[int, int, str, Any]] = []

    def next_turn(self) -> None:
        """A step, or a round of an evaluation, begins; all processes call this as often."""
        self._turn += 1

    @contextmanager
    def of_share(self, index: int) -> Iterator[None]:
        """Inside, what comes in is that share's."""
        before, self._place = self._place, index
        try:
            yield
        finally:
            self._place = before

    def add(self, values: Mapping[str, Any], taken: Sequence[str] = ()) -> None:
        """Take in a value for each name; raises ConfigError for what is not one number, and for a name in use."""
        for name, value in values.items():
            if name in (*_TAKEN, *taken):
                raise ConfigError(f"log({name}=): {name} is logged by the trainer itself; choose another name.")
            number = one_number(f"log({name}=)", value)
            if self._place != _OUTSIDE or self._world.is_main:
                self._pending.append((self._turn, self._place, name, number))

    def mark(self) -> int:
        """Where `forget_since` can go back to, until the values are read."""
        return len(self._pending)

    def forget_since(self, mark: int) -> None:
        """Take back what came in since then."""
        del self._pending[mark:]

    def gather(self) -> None:
        """Bring the processes' values together; all of them have to call this at the same point."""
        mine = [(turn, place, name, _read(value)) for turn, place, name, value in self._pending]
        self._pending.clear()
        gathered = [mine] if self._world.is_single else self._world.gather(mine)
        _add(self._sums, self._counts, chain.from_iterable(gathered))

    def results(self) -> dict[str, float]:
        """The mean of each name, in the order in which they came first."""
        sums, counts = self._total()
        return {name: value / counts[name] for name, value in sums.items()}

    def reset(self) -> None:
        self._sums, self._counts = {}, {}
        self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        sums, counts = self._total()
        return {name: [value, counts[name]] for name, value in sums.items()}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self._sums = {name: value for name, (value, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}

    def _total(self) -> tuple[dict[str, float], dict[str, int]]:
        """Sums and counts with what is not read yet, which stays so."""
        sums, counts = dict(self._sums), dict(self._counts)
        _add(sums, counts, self._pending)
        return sums, counts


def _add(sums: dict[str, float], counts: dict[str, int], values: Iterable[tuple[int, int, str, Any]]) -> None:
    """Add (turn, place, name, value) in the order of turns and places, not in that of the processes."""
    for _, _, name, value in sorted(values, key=itemgetter(0, 1)):
        sums[name] = sums.get(name, 0.0) + _read(value)
        counts[name] = counts.get(name, 0) + 1


def one_number(where: str, value: Any) -> Any:
    """`value` without its gradient, if it is one number or a tensor of one; else raises ConfigError."""
    if isinstance(value, paddle.Tensor):
        if value.size == 1:
            return value.detach()
        raise ConfigError(f"{where} is a tensor of shape {list(value.shape)}; expected one number, such as its mean().")
    if isinstance(value, (Real, np.ndarray)) and np.asarray(value).size == 1:
        return float(np.asarray(value).item())
    raise ConfigError(f"{where} is a {type(value).__name__}; expected a number or a tensor of one.")


def _read(value: Any) -> float:
    number: Any = value.item() if isinstance(value, paddle.Tensor) else value
    return float(number)
