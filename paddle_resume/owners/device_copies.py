"""Copies of tensors from a GPU to pinned memory: side by side, and on a stream of their own if that is asked for.

The stream follows Paddle's documentation and has not been run on a GPU: PADDLE_RESUME_GPU_STREAM=1 turns it on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

_WANTED = "PADDLE_RESUME_GPU_STREAM"


class DeviceCopies:
    """The copies that are on their way."""

    def __init__(self) -> None:
        self._stream: Optional[Any] = None
        self._arrived: Optional[Any] = None
        self._waits_later = False

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """What `pin_memory(False)` copies in this block is there when it ends, or within `later` after `wait`."""
        import paddle  # Who only looks at checkpoints does without it.

        if not paddle.device.get_device().startswith("gpu"):
            yield
        elif os.environ.get(_WANTED) != "1":
            yield
            paddle.device.synchronize()
        else:
            with self._aside(paddle.device):
                yield
            if not self._waits_later:
                self.wait()

    @contextmanager
    def later(self) -> Iterator[None]:
        """In this block nobody reads the copies, and `wait` is called before anybody does."""
        self._waits_later = True
        try:
            yield
        finally:
            self._waits_later = False

    def wait(self) -> None:
        """Have all copies be there that were begun."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None

    @contextmanager
    def _aside(self, device: Any) -> Iterator[None]:
        if self._stream is None:
            self._stream = device.Stream()
        training = device.current_stream()
        self._stream.wait_stream(training)  # They read what has been computed, ...
        with device.stream_guard(self._stream):
            yield
        self._arrived = self._stream.record_event()
        training.wait_event(self._arrived)  # ... and what is computed next does not overtake them.


device_copies = DeviceCopies()
"""Of this process."""
