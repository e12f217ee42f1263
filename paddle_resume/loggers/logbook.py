"""All the logs of a run behind one door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Union

import numpy as np

from paddle_resume.loggers.cursor import Logger


class Logbook:
    """Writes each line to every logger; none, one or several."""

    def __init__(self, loggers: Union[Logger, Sequence[Logger], None]) -> None:
        self.loggers = [loggers] if isinstance(loggers, Logger) else list(loggers or [])

    def owners(self) -> list[tuple[str, Logger]]:
        """Each logger with its name as an owner of state."""
        return [(f"log.{type(log).__name__}", log) for log in self.loggers]

    def start_over(self) -> None:
        for logger in self.loggers:
            logger.start_over()

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()

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
