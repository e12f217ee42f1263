"""What a run was before it did what it does only because it ends, so that it can be made longer without a trace."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any, Callable, Optional

from paddle_resume.checkpoint import owner_states
from paddle_resume.checkpoint.phases import TRAIN
from paddle_resume.errors import SaveError
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.stateful import Owners
from paddle_resume.training.progress import Progress


class Ending:
    """Keeps, from where a run begins to end, the states of `owners`: all that an evaluation or a log record moves.

    An evaluation that comes only because the run ends, the log record of an interval that it cuts short, and the test
    results would not be there in a longer run. They move the learning rate of a plateau, the best, patience and the
    logs; the states from before come with the run's progress into its last records.
    """

    def __init__(
        self, progress: Progress, owners: Callable[[], Owners], logbook: Logbook, watch: Callable[[], None]
    ) -> None:
        """`watch` puts aside whatever moves in tensors after it was called."""
        self._progress = progress
        self._owners = owners
        self._watch = watch
        self._logbook = logbook

    def begin(self, phase: str = TRAIN) -> None:
        """From here on the run does what only its end makes it do; all processes call this together.

        A longer run would go on here with `phase`.
        """
        progress, owners = self._progress, self._owners()
        if progress.before_end is not None:
            return
        with suppress(SaveError):  # A log that cannot be written is told of by the save.
            owner_states.prepare(owners)
        now, progress.phase = progress.phase, phase
        states = {name: copy.deepcopy(owner.state_dict()) for name, owner in owners.items()}
        progress.phase, progress.before_end = now, states
        self._logbook.begin_end()

    def state_before(self, owner: str) -> Optional[dict[str, Any]]:
        """The state of `owner` from before; None if the run has not begun to end."""
        return (self._progress.before_end or {}).get(owner)

    def restored(self) -> None:
        """The run was restored: if it had begun to end, the tensors that were still by then are watched again."""
        if self._progress.before_end is not None:
            self._watch()

    def undo(self) -> None:
        """Go back to before, for a run that is made longer; one saved by an earlier version only trains on."""
        states = self._progress.before_end
        self._progress.phase = TRAIN
        if states is not None:
            owner_states.restore(self._owners(), states, {})
