"""The line between the processes of a run is as quick for long messages as for short ones."""

from __future__ import annotations

import statistics
import threading
import time

from wires import two_lines

from paddle_resume.parallel.channel import Hub, Spoke


def test_a_long_message_does_not_wait_for_the_first_part_of_it_to_be_acknowledged() -> None:
    """As long as a random state; such a wait is 40 ms, on one side or on both."""
    rounds, long = 20, b"x" * 40_000
    ours, theirs = two_lines()
    hub = Hub({ours: 1}, timeout=10)

    def other() -> None:
        spoke = Spoke(theirs, timeout=10)
        for _ in range(rounds):
            spoke.round(long, list)
        spoke.close()

    thread = threading.Thread(target=other)
    thread.start()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        assert hub.round(long, list) == [long, long]
        seconds.append(time.perf_counter() - begun)
    thread.join()
    hub.close()
    assert statistics.median(seconds) < 0.03
