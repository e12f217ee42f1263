"""All that a wrapped program holds when it asks for a batch: found from its variables, and given to owners of state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import paddle
from paddle.jit.dy2static.program_translator import StaticFunction

from paddle_resume.errors import StateError
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.dispatch import OWNER, kind_of
from paddle_resume.found_state.owners import FoundArrays, FoundState, Origin
from paddle_resume.found_state.paddle_rules import claim_owned
from paddle_resume.found_state.walk import Walk
from paddle_resume.found_state.walker import Walker
from paddle_resume.owners.optimizer import parameters_of
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Owner
from paddle_resume.suites.adapters import Adapter, LazyParts
from paddle_resume.suites.loader_iterator import LoaderIterator, go_on
from paddle_resume.suites.own_statistics import OwnStatistics
from paddle_resume.suites.stack import Level, Stack, StackReader, code_of, set_variables, variables


class Variables:
    """The variables of one function, and the iterators of the loops that it is in, as attributes."""


class ProgramState:
    """Looks at a program first when it asks for its first batch at one place, and from then on at each save there.

    What the program has made by then it makes again in each process; what has moved since is saved and put back. The
    layers whose parameters an optimizer moves are saved as a model, so that Paddle can load them by itself; all else,
    such as averages of weights, is saved as it is found.
    """

    def __init__(
        self,
        reader: StackReader,
        stack: Stack,
        asked: LoaderIterator,
        adapter: Optional[Adapter],
        world: World,
    ) -> None:
        self.batches = 0
        """How many were given out here before the request after which the first update came."""
        self._reader = reader
        self._leave = adapter.leave if adapter is not None else {}
        self.stack = stack
        self.site = stack.site
        self._turns = [reader.turns(level) for level in stack.levels]
        self._held = {level.name: Variables() for level in stack.levels}
        self._asked = self._held["the batches"] = Variables()
        self._read(asked)
        claims = Claims()
        things = [node.thing for node in Walk(self._held, Claims()).run()]
        optimizers = _named([each for each in things if isinstance(each, paddle.optimizer.Optimizer)])
        model = _model([each for each in things if _is_layer(each)], optimizers)
        self._optimizers: dict[int, Any] = {}
        self._find_optimizers(things)
        self.of_model: dict[str, Any] = {}
        if model is not None:
            self.of_model = paddle_owners(model, optimizers)
            claim_owned(claims, model, optimizers, self.of_model)
        claims.roots.update({f"{level.name} (code)": code_of(level) for level in stack.levels})
        self._walker = Walker(self._held, claims)
        self._walker.save_whole()
        self.survey = self._walker.survey()
        self.survey.require_capturable()
        arrays = FoundArrays()
        # What begins otherwise, and was not saved whole, stops a resume: nobody else would see it.
        origins = dict.fromkeys(self._walker.roots, Origin(None, ""))
        self.found = FoundState(self._walker, arrays, world, origins)
        self.found.may_be_absent = False  # It holds where the program stands.
        self.owners: dict[str, Owner] = {
            "lazy": LazyParts(adapter, things),
            "found.arrays": arrays,
            "found": self.found,
            **self.of_model,
        }
        if model is not None and not world.is_single:
            self.owners["own statistics"] = PerRank(OwnStatistics(model), world)

    @property
    def has_traced_code(self) -> bool:
        """Whether some of it is a static graph, which nobody can save."""
        return any(isinstance(node.thing, StaticFunction) for node in self.survey.nodes)

    def is_found(self, optimizer: Any) -> bool:
        """Whether an optimizer was seen from the program's variables, when it was looked at last."""
        return id(optimizer) in self._optimizers

    def require_found(self, optimizer: Any) -> None:
        """Raises StateError for an optimizer that was not seen, and that nobody's `state_dict` can stand for."""
        if not self.is_found(optimizer) and not self._has_owners:
            raise StateError(
                f"{self.stack.told}: the parameters are moved by an optimizer {type(optimizer).__name__}, to which no "
                "variable of the functions that are training leads, so that its state cannot be saved. Keep it in a "
                "variable, or in an attribute of an object, that they use."
            )

    def _find_optimizers(self, things: Sequence[Any]) -> None:
        found = [each for each in things if isinstance(each, paddle.optimizer.Optimizer)]
        self._optimizers = {id(each): each for each in found}
        self._has_owners = any(kind_of(each) is OWNER for each in things)

    def come_again(self, stack: Stack) -> bool:
        """Take note that the program asks again; returns whether it is the place at which it was looked at first.

        It is not if a function was called anew and no loop around it has gone on: then something holds its place that
        nobody sees, such as a `map` of Python's own.
        """
        if stack is not self.stack and stack.site != self.site:
            return False
        turns = [self._reader.turns(level) for level in stack.levels]
        before, self._turns = self._turns, turns
        if stack is self.stack:
            return True
        known, self.stack = self.stack, stack
        for place, (level, last) in enumerate(zip(stack.levels, known.levels)):
            if level.frame is not last.frame:
                return (
                    place > 0
                    and stack.levels[place - 1].frame is known.levels[place - 1].frame
                    and (turns[place - 1] != before[place - 1] or turns[place - 1] is None)
                )
        return True

    def before_save(self, asked: LoaderIterator) -> None:
        """Bring what stands for the program's variables up to date; `asked` is the iterator that is to give a batch."""
        self._read(asked)
        nodes = self._walker.survey().nodes
        self._find_optimizers([node.thing for node in nodes])
        new = {id(node.thing) for node in nodes if node.start is None}
        for each in self._iterators():
            each.is_made_anew |= id(each.loader) in new
            each.before_save()

    def after_save(self) -> None:
        """Have the data go on that have stood still since `before_save`."""
        for each in self._iterators():
            each.release()

    def write_back(self, tell: Callable[[str], None]) -> LoaderIterator:
        """Have the program's variables and loops be what was put back; returns the iterator that is to give a batch."""
        for level in self.stack.levels:
            held = vars(self._held[level.name])
            loops = self._reader.iterators(level)
            for text, loop in loops.items():
                loop.inner = held[text]
            set_variables(level, {name: value for name, value in held.items() if name not in loops})
        go_on(self._iterators(), tell)
        return vars(self._asked)["asked"]

    def _iterators(self) -> list[LoaderIterator]:
        return [node.thing for node in self._walker.survey().nodes if isinstance(node.thing, LoaderIterator)]

    def _read(self, asked: LoaderIterator) -> None:
        vars(self._asked)["asked"] = asked
        for level in self.stack.levels:
            held = vars(self._held[level.name])
            held.clear()
            held.update(_held_by(level, self._reader, self._leave))


def _held_by(level: Level, reader: StackReader, leave: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    loops = {text: loop.inner for text, loop in reader.iterators(level).items()}
    return {**variables(level, leave), **loops}


def _named(optimizers: list[Any]) -> dict[str, Any]:
    """Optimizers by name, "" for the only one; one inside a wrapper is the wrapper's own."""
    inner = {id(each) for thing in optimizers for each in vars(thing).values()}
    outer = [thing for thing in optimizers if id(thing) not in inner]
    return {"" if len(outer) == 1 else str(number): thing for number, thing in enumerate(outer)}


def _model(layers: list[Any], optimizers: Mapping[str, Any]) -> Any:
    """The layer with the parameters that the optimizers move, or one of several such layers; None for none."""
    moved = {id(parameter) for optimizer in optimizers.values() for parameter in parameters_of(optimizer)}
    trained = [layer for layer in layers if any(id(parameter) in moved for parameter in layer.parameters())]
    inside = {id(each) for layer in trained for each in layer.sublayers()}
    outer = [_unwrapped(layer) for layer in trained if id(layer) not in inside]
    if len(outer) <= 1:
        return next(iter(outer), None)
    every = paddle.nn.Layer()
    for number, layer in enumerate(outer):
        every.add_sublayer(str(number), layer)
    return every


def _is_layer(thing: Any) -> bool:
    """Whether it is a Layer; one whose class does not call Layer's `__init__` holds no parameters."""
    return isinstance(thing, paddle.nn.Layer) and "_parameters" in vars(thing)


def _unwrapped(layer: Any) -> Any:
    return layer._layers if isinstance(layer, paddle.DataParallel) else layer
