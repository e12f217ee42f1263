"""What a wrapped run's iterator over a `paddle.io.DataLoader` has in one process only, and no checkpoint holds."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Optional

from paddle_resume.suites.noting_sampler import NotingIterator, Place

_SECONDS_TO_STOP = 10.0
_SECONDS_TO_LOOK = 0.0005


class Live:
    """What a LoaderIterator has in this process: Paddle's own iterator, and where the data stood lately."""

    def __init__(self) -> None:
        self.plain: Any = None
        self.noting: Optional[NotingIterator] = None
        """What notes the places; None where they are not noted."""
        self.places: deque[Place] = deque()

    def place(self) -> Optional[Place]:
        """Where the data stood when the batches that were given out had been made, and no other; None if not noted.

        The thread that makes them may not be that far yet, where it takes longer than the program does; it comes there.
        """
        while self.noting is not None and not self.places and self.plain is not None and _makes_batches(self.plain):
            time.sleep(_SECONDS_TO_LOOK)
        return self.places[0] if self.places else None

    def drop_places_before(self, batches: int) -> None:
        """Forget where the data stood before batches that have been given out."""
        while self.places and self.places[0].batches < batches:
            self.places.popleft()

    def stop(self) -> None:
        """Let go of Paddle's iterator; none of its threads and workers goes on."""
        plain, self.plain = self.plain, None
        self.places.clear()
        if self.noting is not None:
            self.noting.release()
            self.noting.open_gate()
        if plain is not None:
            plain._exit_thread_expectedly()
            if plain._thread is not None:  # Paddle itself would wait for whole seconds.
                plain._thread.join(_SECONDS_TO_STOP)
            plain._try_shutdown_all()


def _makes_batches(plain: Any) -> bool:
    return plain._thread is not None and plain._thread.is_alive()
