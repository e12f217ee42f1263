"""Running means of what a program logs by name, such as the losses of several networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import paddle

from paddle_resume.errors import ConfigError
from paddle_resume.parallel.world import World

_TAKEN = ("loss", "lr")


class RunningScalars:
    """The means since the last reset of each name's values; tensors are read later, as losses are.

    With several processes `gather` brings their values together, rank by rank.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._pending: list[tuple[str, Any]] = []

    def add(self, values: Mapping[str, Any], taken: Sequence[str] = ()) -> None:
        """Take in a value for each name; raises ConfigError for what is not one number, and for a name in use."""
        for name, value in values.items():
            if name in (*_TAKEN, *taken):
                raise ConfigError(f"log({name}=): {name} is logged by the trainer itself; choose another name.")
            self._pending.append((name, one_number(f"log({name}=)", value)))

    def mark(self) -> int:
        """Where `forget_since` can go back to, until the values are read."""
        return len(self._pending)

    def forget_since(self, mark: int) -> None:
        """Take back what came in since then."""
        del self._pending[mark:]

    def gather(self) -> None:
        """Bring the processes' values together; all of them have to call this at the same point."""
        mine = [(name, _read(value)) for name, value in self._pending]
        self._pending.clear()
        for values in [mine] if self._world.is_single else self._world.gather(mine):
            for name, value in values:
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1

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
        for name, value in self._pending:
            sums[name] = sums.get(name, 0.0) + _read(value)
            counts[name] = counts.get(name, 0) + 1
        return sums, counts


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
