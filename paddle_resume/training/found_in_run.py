"""What a trainer hands to the walker: the roots of its run, what its owners save, and what is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.differences import ConfigScope
from paddle_resume.found_state.alike import are_same
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.leaves import same_cells
from paddle_resume.found_state.owners import Origin, StateBeforeTheEnd
from paddle_resume.found_state.paddle_rules import claim_owned
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner, Stateful
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.find_state import find_state
from paddle_resume.training.found_data import data_roots

ARRAYS, FOUND = "found.arrays", "found"
_OF_TRAINER = ("restored", "_parts", "_session", "_console", "_arguments")

# An optimizer's settings are compared by an owner of their own, and so are the data.
_ORIGINS = {
    "model": Origin(ConfigScope(("model",)), "Trainer(model=)"),
    "loss": Origin(ConfigScope(("loss",)), "Trainer(loss=)"),
    "metric": Origin(ConfigScope(("metrics",)), "Trainer(metrics=)"),
    "callback": Origin(ConfigScope(("callbacks",)), "Trainer(callbacks=)", decides=False),
    "trainer": Origin(None, "the Trainer's own class", decides=False),
}


class FoundInRun:
    """Everything that can be reached from a run and that none of its owners saves.

    The walker first looks when the data are known, in the first call of `Trainer.train`: what the program makes is in
    place then, and nothing is restored yet.

    Args:
        trainer: perhaps of a class of the user's, with attributes of its own.
        own: the objects of which the run is made: the trainer's own, and saved by their owners.
        is_elastic: whether all processes have to hold the same.
        has_server: whether rank 0 is a parameter server, through whose model no batch goes.
    """

    def __init__(
        self,
        trainer: Any,
        optimizers: Mapping[str, paddle.optimizer.Optimizer],
        metrics: Sequence[paddle.metric.Metric],
        callbacks: Sequence[Callback],
        owners: Mapping[str, Owner],
        own: Iterable[Any],
        world: World,
        tell: Callable[[str], None],
        is_elastic: bool = False,
        has_server: bool = False,
    ) -> None:
        self._trainer = trainer
        self._world = world
        self._tell = tell
        self._alike = {"is_elastic": is_elastic, "has_server": has_server}
        self._claims = claims = Claims()
        claims.attributes(trainer, _OF_TRAINER, "the run")
        for thing in own:
            claims.object(thing, "the run")
        claim_owned(claims, trainer.model, optimizers, owners)
        for name, owner in owners.items():
            claims.object(owner, name)
        self._roots: dict[str, Any] = {}
        self._roots.update(model=trainer.model, loss=trainer.loss)
        for name, optimizer in optimizers.items():
            self._roots[f"optimizer.{name}" if name else "optimizer"] = optimizer
        for kind, things in (("metric", metrics), ("callback", callbacks)):
            for name, thing in numbered(kind, things):
                if isinstance(thing, Stateful):
                    claims.object(thing, name)
                elif kind == "metric" or not (thing.only_watches or _is_ours(thing)):
                    self._roots[name] = thing
        self._roots["trainer"] = trainer
        self._data: dict[str, Any] = {}
        self._owners: dict[str, Owner] = {}
        self._of_model = owners

    def look(self, feeds: Mapping[str, Feed]) -> None:
        """Find what there is, if that was not done for these data; raises StateError for what cannot be saved."""
        data = data_roots(feeds, self._claims)
        if self._owners and same_things(data, self._data):
            return
        self._data = data
        self._roots["loss"] = self._trainer.loss  # It may have been given another one since it was built.
        model, roots = self._roots["model"], {**self._roots, **data}
        found = self._found = find_state(
            model, roots, self._claims, self._of_model, feeds, ["train"], _ORIGINS, self._world, **self._alike
        )
        found.walker.begins = True
        self._owners = {ARRAYS: found.arrays, FOUND: found.state}
        self.before_end = StateBeforeTheEnd(found.walker, found.arrays, self._world, found.filled, **self._alike)
        if found.survey.told:
            self._tell(found.survey.told_line())

    def before_begin(self) -> None:
        """Callbacks are about to be told that the run begins."""
        self._found.walker.before_begin()

    def begin(self) -> bool:
        """Callbacks have made what they make as the run begins; returns whether a restore has waited for that.

        Raises StateError for what cannot be saved of it.
        """
        self._found.walker.begin()
        return self._found.walker.waits

    @property
    def owners(self) -> Mapping[str, Owner]:
        """The owners of all of it; none before `look`."""
        return self._owners

    def as_now(self) -> Callable[[], None]:
        """What brings all that was found back to where it is now."""
        return self._found.as_now()

    def changed_by(self, call: Callable[[], None]) -> list[str]:
        """Call it; returns the paths at which it has changed what was found."""
        walker = self._found.walker
        before, arrays = walker.capture()
        arrays = {name: array.copy() for name, array in arrays.items()}
        call()
        after, others = walker.capture()
        moved, new = before["moved"], after["moved"]
        paths = [
            _first_changed(path, moved.get(path), new.get(path))
            for path in {**moved, **new}
            if not same_cells(moved.get(path), new.get(path))
        ]
        paths += [name for name in {**arrays, **others} if not are_same(arrays.get(name), others.get(name))]
        return list(dict.fromkeys(paths))

    @property
    def note(self) -> str:
        """What a person should know after a resume, or an empty text."""
        return self._found.state.note


def _first_changed(path: str, before: Any, after: Any) -> str:
    """The path of the first attribute of an object that is another in its two entries, or of the object itself."""
    if not isinstance(after, dict) or after.get("kind") != "object":
        return path
    earlier = dict(zip((before or {}).get("labels", ()), (before or {}).get("values", ())))
    for label, value in zip(after["labels"], after["values"]):
        if label not in earlier or not same_cells(earlier[label], value):
            return f"{path}.{label}"
    return next((f"{path}.{label}" for label in after.get("gone", ())), path)


def _is_ours(callback: Callback) -> bool:
    """Whether the package itself answers for all that it holds."""
    return type(callback).__module__.startswith("paddle_resume.")


def numbered(kind: str, things: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    """Each thing with a name: `callback.EarlyStopping`, and `callback.EarlyStopping.2` for a second one."""
    seen: dict[str, int] = {}
    for thing in things:
        name = f"{kind}.{type(thing).__name__}"
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}.{seen[name]}"), thing


def same_things(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether both have the very same objects under the same names."""
    return list(some) == list(others) and all(one is other for one, other in zip(some.values(), others.values()))
