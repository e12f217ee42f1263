"""Who does not know the secret of a run is told of and turned away, holds nobody up, and has nothing unpickled."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any, Callable

import pytest
from wires import two_lines

from paddle_resume.errors import ParallelError
from paddle_resume.parallel import rendezvous, welcome
from paddle_resume.parallel.channel import Channel, Hub
from paddle_resume.parallel.line import NotOfThisRun, join
from paddle_resume.parallel.rendezvous import meet
from paddle_resume.parallel.secret import shared_secret
from paddle_resume.parallel.welcome import addresses_to_listen_at
from paddle_resume.testing.rank_environment import launcher_environments


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """Where rank 0 of a run of two will listen."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name, value in launcher_environments(2)[0].items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PADDLE_MASTER")
    return int(os.environ["PADDLE_CURRENT_ENDPOINT"].rpartition(":")[2])


@contextmanager
def rank_0(seconds: float = 20, size: int = 2) -> Iterator[list[Any]]:
    """Rank 0 in a thread; what it ends with, a channel or an error, is in the list."""
    ends: list[Any] = []

    def main() -> None:
        try:
            ends.append(meet(0, size, seconds, 10))
        except ParallelError as error:
            ends.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    try:
        yield ends
    finally:
        thread.join(seconds + 10)
        for end in ends:
            if isinstance(end, Channel):
                end.close()


def call(port: int) -> socket.socket:
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.01)


def silent(port: int, mark: Path) -> Any:
    return call(port)


def wrong_line(port: int, mark: Path) -> Any:
    end = call(port)
    end.sendall(b"paddle_resume rank abc\n")
    return end


def http(port: int, mark: Path) -> Any:
    end = call(port)
    end.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return end


def a_pickle(port: int, mark: Path) -> Any:
    end = call(port)
    body = pickle.dumps(Bomb(mark))
    end.sendall(len(body).to_bytes(4, "big") + body)
    return end


def a_hello_of_zeros(port: int, mark: Path) -> Any:
    end = call(port)
    end.sendall(b"paddle_resume 2 " + bytes(72))
    return end


def a_guess(port: int, mark: Path) -> Any:
    end = call(port)
    join(end, b"x" * 32, 1, 2)[1].send(Bomb(mark))
    return end


def another_library(port: int, mark: Path) -> Any:
    end = call(port)
    threading.Thread(target=lambda: _suppressed(lambda: Client(("127.0.0.1", port), authkey=b"key"))).start()
    return end


def a_flood(port: int, mark: Path) -> Any:
    return [call(port) for _ in range(300)]


def _suppressed(action: Callable[[], Any]) -> None:
    with suppress(Exception):
        action()


STRANGERS = [silent, wrong_line, http, a_pickle, a_hello_of_zeros, a_guess, another_library, a_flood]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda each: each.__name__)
def test_a_stranger_neither_holds_up_nor_ends_the_meeting_and_runs_nothing(
    stranger: Callable[[int, Path], Any], port: int, tmp_path: Path
) -> None:
    with rank_0() as ends:
        _ends = stranger(port, tmp_path / "mark")
        began = time.monotonic()
        other = meet(1, 2, 20, 10)
        assert time.monotonic() - began < 2
    assert isinstance(ends[0], Hub), ends
    assert not (tmp_path / "mark").exists()
    other.close()


def test_strangers_are_told_of_three_by_name_and_the_others_counted(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(welcome, "_PATIENCE_SECONDS", 0.1)
    with caplog.at_level(logging.WARNING), rank_0():
        ends = [wrong_line(port, Path()) for _ in range(5)]
        ends.append(call(port))
        time.sleep(0.3)
        meet(1, 2, 20, 10).close()
    told = [record.getMessage() for record in caplog.records]
    assert told[:3] == ["A connection from 127.0.0.1 was turned away: it is some other program."] * 3
    assert told[3:] == ["3 other connections were turned away."]


def test_a_run_that_nobody_joins_but_a_stranger_says_so(port: int) -> None:
    with rank_0(1) as ends:
        end = call(port)
        reply, _ = join(end, b"x" * 32, 1, 2)
    assert reply != 1
    assert "rank 1 did not come within 1 s. Connections that were turned away: 1; the last because it does" in str(
        ends[0]
    )


def test_a_process_with_another_secret_ends_at_once_and_says_what_to_do(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADDLE_RESUME_SECRET", "a" * 16)
    with rank_0(2):
        call(port).close()  # Rank 0 has read its secret.
        monkeypatch.setenv("PADDLE_RESUME_SECRET", "b" * 16)
        with pytest.raises(ParallelError, match="another secret than this process.* Set PADDLE_RESUME_SECRET"):
            meet(1, 2, 20, 10)


def test_a_process_of_a_run_of_another_size_is_told(port: int) -> None:
    with rank_0(2), call(port) as end:
        assert join(end, shared_secret(), 3, 4)[0] == rendezvous.OTHER_SIZE


def test_who_poses_as_rank_0_learns_nothing_and_is_not_believed(port: int, tmp_path: Path) -> None:
    """It has the challenge of a real rank 0, and answers with what it likes."""
    with socket.create_server(("127.0.0.1", port)) as door:

        def pose() -> None:
            with suppress(OSError):
                while True:
                    end, _ = door.accept()
                    end.sendall(b"paddle_resume 2 " + bytes(32))
                    end.recv(88)
                    end.sendall(b"\1" + bytes(32) + pickle.dumps(Bomb(tmp_path / "mark")))
                    end.close()

        thread = threading.Thread(target=pose, daemon=True)
        thread.start()
        with pytest.raises(ParallelError, match="what answers there is not rank 0 of this run"):
            meet(1, 2, 1, 10)
        door.shutdown(socket.SHUT_RDWR)
    assert not (tmp_path / "mark").exists()


def test_an_answer_that_was_overheard_fits_no_other_challenge(port: int) -> None:
    heard: list[bytes] = []

    class Tapped(socket.socket):
        def sendall(self, data: Any, *more: Any) -> None:
            heard.append(bytes(data))
            super().sendall(data, *more)

    with rank_0(2) as ends:
        call(port).close()
        tapped = Tapped()
        tapped.settimeout(10)
        tapped.connect(("127.0.0.1", port))
        reply, line = join(tapped, shared_secret(), 1, 2)
        line.close()
    assert reply == 1 and heard and isinstance(ends[0], Hub)
    with rank_0(1) as ends:
        end = call(port)
        end.recv(48)
        end.sendall(heard[0])
        assert end.recv(1) == bytes([2])
    assert isinstance(ends[0], ParallelError)


@pytest.mark.parametrize("attack", ["altered", "repeated", "put in", "sent back"])
def test_a_message_that_the_other_end_did_not_send_is_not_unpickled(attack: str, tmp_path: Path) -> None:
    sender, receiver = two_lines()
    if attack == "sent back":
        receiver.send("of the receiver's own")
        message = sender._connection.recv_bytes()
        sender._connection.send_bytes(message)
    elif attack == "put in":
        sender._connection.send_bytes(bytes(16) + pickle.dumps(Bomb(tmp_path / "mark")))
    else:
        body = pickle.dumps("first")
        message = sender._code(0, body) + body
        sender._connection.send_bytes(message)
        if attack == "repeated":
            assert receiver.receive() == "first"
            sender._connection.send_bytes(message)
        else:
            receiver._connection.recv_bytes()
            sender._connection.send_bytes(message[:-1] + bytes([message[-1] ^ 1]))
    with pytest.raises(NotOfThisRun):
        receiver.receive()
    assert not (tmp_path / "mark").exists()
    sender.close()
    receiver.close()


def test_a_rank_that_came_and_ended_is_missing_again(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", os.environ["PADDLE_TRAINER_ENDPOINTS"] + ",127.0.0.1:1")
    with rank_0(1, size=3) as ends:
        ended = join(call(port), shared_secret(), 1, 3)[1]
        ended.close()
        time.sleep(0.2)
        stays = join(call(port), shared_secret(), 2, 3)[1]
    assert "rank 1 did not come" in str(ends[0])
    stays.close()


def test_rank_0_listens_where_the_others_look_for_it_and_nowhere_else(port: int) -> None:
    with rank_0(5) as ends:
        call(port).close()
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
        assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        meet(1, 2, 5, 10).close()
    assert isinstance(ends[0], Hub)


def test_a_name_that_means_this_machine_alone_is_not_listened_at_if_others_are_to_come() -> None:
    assert addresses_to_listen_at("127.0.1.1", ["127.0.1.1", "10.0.0.2"]) == [""]
    assert addresses_to_listen_at("127.0.1.1", ["127.0.1.1", "127.0.1.1"]) == ["127.0.1.1", ""]
    assert addresses_to_listen_at("10.0.0.1", ["10.0.0.1", "10.0.0.2"]) == ["10.0.0.1", ""]


def test_an_address_that_is_not_this_machine_s_is_met_at_all_of_its_own(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a translation of addresses: 192.0.2.1 is in no machine."""
    here = os.environ["PADDLE_TRAINER_ENDPOINTS"]
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", here.replace("127.0.0.1", "192.0.2.1"))
    with rank_0(5) as ends:
        reply, line = join(call(port), shared_secret(), 1, 2)
    assert reply == 1 and isinstance(ends[0], Hub)
    line.close()


# ---------------------------------------------------------------- the secret


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PADDLE_RESUME_SECRET", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "paddle_resume" / "secret"


def test_the_secret_is_made_once_and_only_its_user_can_read_it(home: Path) -> None:
    made = {shared_secret() for _ in range(3)}
    assert made == {home.read_bytes()} and len(home.read_bytes()) == 32
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert [each.name for each in home.parent.iterdir()] == ["secret"]


def test_processes_that_make_the_secret_at_once_have_the_same(home: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(shared_secret())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and len(set(found)) == 1


@pytest.mark.parametrize("how", ["readable by others", "link", "short", "pipe"])
def test_a_secret_that_others_could_know_is_refused(how: str, home: Path) -> None:
    home.parent.mkdir()
    if how == "readable by others":
        home.write_bytes(b"x" * 32)
        home.chmod(0o644)
    elif how == "short":
        home.write_bytes(b"x")
        home.chmod(0o600)
    elif how == "pipe":
        os.mkfifo(home, 0o600)
    else:
        (home.parent / "elsewhere").write_bytes(b"x" * 32)
        home.symlink_to("elsewhere")
        # Not followed: the secret is kept elsewhere then.
        assert shared_secret() != b"x" * 32
        return
    with pytest.raises(ParallelError, match="only this user can read. Remove it"):
        shared_secret()


def test_a_secret_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLE_RESUME_SECRET", "hunter2")
    with pytest.raises(ParallelError, match="has 7 letters, which can be guessed"):
        shared_secret()
