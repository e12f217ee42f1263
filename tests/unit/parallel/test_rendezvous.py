"""The processes of a run come to Paddle's own meeting when rank 0 is there."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from paddle_resume.parallel.rendezvous import meet
from paddle_resume.testing.rank_environment import launcher_environments


def test_the_others_go_on_once_rank_0_listens_where_paddle_connects_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in launcher_environments(2)[0].items():
        monkeypatch.setenv(name, value)
    port = int(os.environ["PADDLE_MASTER"].rpartition(":")[2])
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening, first_channel = [], []

    def first() -> None:
        first_channel.append(meet(0, 2, 10, 10))
        time.sleep(0.2)  # As long as Paddle takes from there on.
        listening.append(time.monotonic())
        door.bind(("127.0.0.1", port))
        door.listen()

    thread = threading.Thread(target=first)
    thread.start()
    second = meet(1, 2, 10, 10)
    came = time.monotonic()
    thread.join()
    door.close()
    for channel in (second, *first_channel):
        channel.close()
    assert listening and 0 <= came - listening[0] < 2
