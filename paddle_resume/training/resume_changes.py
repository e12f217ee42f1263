"""What a resume may change on purpose: which differences were asked for, and how they are carried out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, Union, runtime_checkable

from paddle_resume.checkpoint.restored import Restored
from paddle_resume.differences import Difference
from paddle_resume.errors import ConfigError
from paddle_resume.near_names import nearest
from paddle_resume.training.run_view import RunView
from paddle_resume.user_terms import ARGUMENTS


@runtime_checkable
class ResumeChanges(Protocol):
    """Decides about differences before a resume, and makes those that were wanted part of the run after it."""

    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        """Those that were asked for; the run is as reproducible with them as before."""
        ...

    def carry_out(self, run: RunView, restored: Restored) -> None:
        """Called after the restore, before the first step."""
        ...


class _NoChanges:
    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        return ()

    def carry_out(self, run: RunView, restored: Restored) -> None: ...


NO_CHANGES: ResumeChanges = _NoChanges()


_NAMED = re.compile(r"(\w+)=\)$")
# Those that differ as a whole, and so are no key of a config.
_WHOLE = ("optimizer", "model", "loss", "metrics", "callbacks", "train_data", "valid_data", "test_data")
_OTHERS = ("policy", "lr_interval", "lr_metric", *_WHOLE)


class ArgumentChanges:
    """The changes that were allowed in Python, by the names of the arguments that were changed.

    Everything is carried out by the owners: what is given now holds from here on. Raises ConfigError for a name that is
    no argument's.
    """

    def __init__(self, names: Union[str, Sequence[str]]) -> None:
        self._names = [names] if isinstance(names, str) else list(names)
        known = sorted({argument_name(argument) for argument in ARGUMENTS.values()} | set(_OTHERS))
        for name in self._names:
            if name not in known:
                like = nearest(name, known)
                raise ConfigError(
                    f"allow_change: no argument is called {name!r}{f'; did you mean {like!r}?' if like else '.'} Name "
                    "those whose change is meant, such as allow_change=['optimizer'] or ['global_batch_size']."
                )

    def wanted(self, differences: Sequence[Difference]) -> Sequence[Difference]:
        return [one for one in differences if argument_name(one.argument) in self._names]

    def carry_out(self, run: RunView, restored: Restored) -> None: ...


def argument_name(argument: str) -> str:
    """`seed` of `Trainer(seed=)`."""
    found = _NAMED.search(argument)
    return found[1] if found else ""
