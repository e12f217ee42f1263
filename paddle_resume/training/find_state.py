"""Looks at a run when all that its program makes is in place: what can be reached then is saved from there on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Callable, NamedTuple, Optional

import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.owners import FoundArrays, FoundState, Origin, all_as_now
from paddle_resume.found_state.paddle_rules import EARLIER
from paddle_resume.found_state.survey import Survey
from paddle_resume.found_state.walker import Walker
from paddle_resume.owners.model import BufferState, ModelState
from paddle_resume.parallel.world import World
from paddle_resume.stateful import Stateful
from paddle_resume.training.found_data import remade, watch_data


class Found(NamedTuple):
    """What a look has found, and the two owners of it."""

    walker: Walker
    survey: Survey
    arrays: FoundArrays
    state: FoundState
    filled: Mapping[str, Stateful]
    """The owners that fill the tensors for which `state` gives room."""

    def as_now(self) -> Callable[[], None]:
        """What brings all of it back to where it is now."""
        return all_as_now(self.walker, self.filled)


def find_state(
    model: paddle.nn.Layer,
    roots: Mapping[str, Any],
    claims: Claims,
    owners: Mapping[str, Any],
    feeds: Mapping[str, Feed],
    trained: Collection[str],
    origins: Mapping[str, Origin],
    world: Optional[World] = None,
    **alike: bool,
) -> Found:
    """Look at what can be reached from `roots`, among them the `data_roots` of `feeds`, and nobody `claims`.

    `owners` are those of the model, `trained` the names of the feeds on which steps are made; `alike` tells what has to
    be the same in all processes. Raises StateError for what cannot be saved.
    """
    # In a notebook the same model is given to one run after the other; a new process begins with it as it was.
    known = vars(model)
    walker = known[EARLIER] = Walker(roots, claims, known.get(EARLIER), remade(feeds))
    survey = walker.survey()
    survey.require_capturable()
    arrays = FoundArrays()
    filled = {name: owner for name, owner in owners.items() if isinstance(owner, (ModelState, BufferState))}
    found = Found(walker, survey, arrays, FoundState(walker, arrays, world, origins, **alike), filled)
    watch_data(feeds, trained, claims, walker, found.state, found.as_now)
    return found
