"""All the logs of a run behind one door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np

from paddle_resume.loggers.log_claim import LogClaim
from paddle_resume.loggers.log_file import Logger
from paddle_resume.parallel.per_rank import MainRankOnly
from paddle_resume.stateful import Owner


class Logbook:
    """Writes each line to every logger; none, one or several. A `silent` one stands for that of rank 0."""

    def __init__(
        self,
        loggers: Union[Logger, Sequence[Logger], None],
        silent: bool = False,
        tell: Optional[Callable[[str], None]] = None,
        advice: Optional[str] = None,
    ) -> None:
        """`tell` is called with what a person should know of a log; `advice`: what to do where it is another run's."""
        self.given = [loggers] if isinstance(loggers, Logger) else list(loggers or [])
        """All loggers, also of a silent one."""
        self.loggers = [] if silent else self.given
        self._claims = [LogClaim(logger.path, *([advice] if advice else [])) for logger in self.loggers]
        for logger in self.loggers:
            logger.tell = tell or logger.tell
        self._names = [f"log.{type(log).__name__}" for log in self.given]

    def owners(self) -> list[tuple[str, Owner]]:
        """Each logger with its name as an owner of state."""
        return [(name, self.loggers[i] if self.loggers else MainRankOnly()) for i, name in enumerate(self._names)]

    def claim(self, run: Path, make: bool) -> None:
        """Keep other runs and processes from writing these logs; raises CheckpointError if they are another run's.

        `run` is the prefix of this run's checkpoints. Without `make` only logs that may be there are claimed.
        """
        for claim in self._claims:
            claim.take(run, make)

    def make_ready(self, resumed: bool) -> None:
        """Raise SaveError where one of them could not be written; a run that goes on goes on without that one."""
        for logger in self.loggers:
            logger.go_on_without_if_unwritable() if resumed else logger.require_writable()

    @property
    def losses(self) -> list[str]:
        """What was lost of the logs, as the last restore found them."""
        return [loss for logger in self.loggers for loss in logger.losses]

    def begin_end(self) -> None:
        """What comes now is there only because the run ends; the logs may be cut back to here."""
        for logger in self.loggers:
            logger.before_end = logger.state_dict()

    @property
    def is_cut_before_end(self) -> bool:
        """Whether a restore found a log that was cut back to before the run's end."""
        return any(logger.is_cut_before_end for logger in self.loggers)

    def start_over(self) -> None:
        for logger in self.loggers:
            logger.start_over()

    def close(self) -> None:
        try:
            for logger in self.loggers:
                logger.close()
        finally:
            for claim in self._claims:
                claim.release()

    def write(self, split: str, scalars: Mapping[str, float], step: int) -> dict[str, float]:
        """Log the values of one part of the data; returns them by tag, such as `valid/acc`."""
        tagged = {f"{split}/{name}": value for name, value in scalars.items()}
        for logger in self.loggers:
            logger.log_scalars(tagged, step)
        return tagged

    def draw(self, split: str, pictures: Mapping[str, np.ndarray], step: int) -> None:
        """Log pictures, uint8 [H, W, 3], of one part of the data by name."""
        for logger in self.loggers:
            for name, picture in pictures.items():
                logger.log_image(f"{split}/{name}", picture, step)
