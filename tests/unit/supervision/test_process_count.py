"""How many processes an elastic run goes on with."""

from __future__ import annotations

import os
import socket
import time

import pytest

from paddle_resume.errors import ConfigError
from paddle_resume.supervision.heartbeat import Beat
from paddle_resume.supervision.process_count import ProcessCount

COMMAND = ["launch", "--nproc_per_node={processes}", "train.py"]
GONE = 2**22 + 1  # above the highest process number of Linux


def beats(*pids: int, host: str = "") -> list[Beat]:
    return [Beat(rank, 3, "train", pid, host or socket.gethostname(), time.time()) for rank, pid in enumerate(pids)]


@pytest.mark.parametrize(
    ("most", "least", "lost", "left"), [(4, 1, 1, 2), (4, 1, 3, 1), (4, 2, 3, 2), (8, 1, 4, 4), (8, 1, 1, 4)]
)
def test_what_is_left_counts_in_powers_of_two(most: int, least: int, lost: int, left: int) -> None:
    count = ProcessCount(COMMAND, least, most)
    assert count.command()[1] == f"--nproc_per_node={most}"
    count.look(beats(*[os.getpid()] * (most - lost), *[GONE] * lost))
    count.look(beats(*[GONE] * (most - 1), os.getpid()))  # The others end a moment later.
    assert count.after_crash().startswith(f", with {left} of {most} processes, since {lost} ")
    assert count.command()[1] == f"--nproc_per_node={left}"


def test_a_parameter_server_is_one_more() -> None:
    count = ProcessCount(["launch", "--nproc_per_node={processes+1}"], 1, 2)
    assert count.command() == ["launch", "--nproc_per_node=3"]
    count.look(beats(os.getpid(), os.getpid(), GONE))
    count.after_crash()
    assert count.command() == ["launch", "--nproc_per_node=2"]


@pytest.mark.parametrize("seen", [beats(GONE, GONE), beats(os.getpid(), os.getpid()), beats(1, GONE, host="other"), []])
def test_where_nothing_was_lost_the_number_stays(seen: list[Beat]) -> None:
    count = ProcessCount(COMMAND, 1, 2)
    count.command()
    count.look(seen)
    assert count.after_crash() == "" and count.now == 2


@pytest.mark.parametrize(
    ("command", "least", "most", "said"),
    [
        (COMMAND, 1, 3, "--max-processes is 3: an elastic run has 1, 2, 4, 8, ... processes"),
        (COMMAND, 4, 2, "--min-processes is 4, more than --max-processes 2"),
        (["launch", "train.py"], 1, 2, "the command has to say where the number of processes goes, as {processes}"),
    ],
)
def test_numbers_that_cannot_be_are_refused(command: list[str], least: int, most: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("{", r"\{")):
        ProcessCount(command, least, most)
