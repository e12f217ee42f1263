"""Rank 0's door: it lets in the ranks of the run, each by its proof, and lets no stranger hold them up."""

from __future__ import annotations

import ipaddress
import logging
import selectors
import socket
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Optional

from paddle_resume.parallel.line import (
    HELLO_BYTES,
    OTHER_SIZE,
    WRONG_SECRET,
    Line,
    NotOfThisRun,
    challenge,
    knows,
    main_line,
    read_hello,
    refuse,
    welcome,
)

_PATIENCE_SECONDS = 10.0
"""So long a connection has for its hello."""
_AT_ONCE = 256
"""So many connections may be without a hello at a time; of more, the oldest goes."""
_TOLD = 3
"""So many strangers are told of one by one."""
_log = logging.getLogger(__name__)


@dataclass
class _Caller:
    """A connection, and what it has said so far."""

    end: socket.socket
    address: str
    until: float
    asked: bytes = field(default_factory=challenge)
    said: bytes = b""


class Door:
    """Takes in a line from each of the other ranks of a run of `size`; what listens is closed at the end."""

    def __init__(self, listener: socket.socket, size: int, secret: bytes) -> None:
        self._listener = listener
        self._size = size
        self._secret = secret
        self._lines: dict[int, Line] = {}
        self._callers: dict[int, _Caller] = {}
        self._strangers = 0
        self._last_stranger = ""
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        listener.setblocking(False)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        for caller in list(self._callers.values()):
            self._forget(caller).close()
        self._selector.close()
        self._listener.close()
        if self._strangers > _TOLD:
            _log.warning("%d other connections were turned away.", self._strangers - _TOLD)
        if error is not None:
            for line in self._lines.values():
                line.close()

    @property
    def missing(self) -> set[int]:
        """The ranks that have not come."""
        return set(range(1, self._size)) - self._lines.keys()

    @property
    def turned_away(self) -> str:
        """A sentence on the last of the strangers, to stand beside the ranks that are missing."""
        if not self._strangers:
            return ""
        return f" Connections that were turned away: {self._strangers}; the last because {self._last_stranger}."

    def admit_all(self, until: float) -> None:
        """Let the ranks in until none is missing or the time is over; who came and is gone is missing again."""
        while self.missing and time.monotonic() < until:
            ends = [until, *(caller.until for caller in self._callers.values())]
            for key, _ in self._selector.select(max(0.0, min(ends) - time.monotonic())):
                if key.fileobj is self._listener:
                    self._answer()
                elif isinstance(key.fileobj, Line):
                    self._lose(key.data, key.fileobj)
                elif key.data.end.fileno() >= 0:  # Else it had to make room just now.
                    self._hear(key.data)
            now = time.monotonic()
            for caller in [each for each in self._callers.values() if each.until <= now]:
                self._turn_away(caller, "it did not say who it is")

    def lines(self) -> dict[Line, int]:
        """The lines to all ranks, once none is missing; they learn by it that they may go on, and not before."""
        for line in self._lines.values():
            try:
                line.send("all are here")
            except OSError:
                continue  # It is gone; the channel will tell.
        return {line: rank for rank, line in sorted(self._lines.items())}

    def _answer(self) -> None:
        try:
            end, address = self._listener.accept()
        except OSError:
            return  # It is gone already, or no file is left for it.
        if len(self._callers) >= _AT_ONCE:
            self._turn_away(next(iter(self._callers.values())), "too many others came after it")
        end.setblocking(False)
        caller = _Caller(end, address[0], time.monotonic() + _PATIENCE_SECONDS)
        self._callers[end.fileno()] = caller
        self._selector.register(end, selectors.EVENT_READ, caller)
        self._say(caller, caller.asked)

    def _hear(self, caller: _Caller) -> None:
        try:
            more = caller.end.recv(HELLO_BYTES - len(caller.said))
        except BlockingIOError:
            return
        except OSError:
            more = b""
        caller.said += more
        try:
            hello = read_hello(caller.said)
        except NotOfThisRun:
            self._turn_away(caller, "it is some other program")
            return
        if not more:
            self._forget(caller).close()  # A look whether somebody listens, or a rank that was ended.
        elif len(caller.said) == HELLO_BYTES:
            if not knows(self._secret, caller.asked, hello):
                self._say(caller, refuse(WRONG_SECRET))
                self._turn_away(caller, "it does not know the secret of this run")
            elif hello.size != self._size or not 0 < hello.rank < self._size:
                self._say(caller, refuse(OTHER_SIZE))
                self._turn_away(caller, f"it is rank {hello.rank} of {hello.size}")
            else:
                self._say(caller, welcome(self._secret, caller.asked, hello))
                self._admit(hello.rank, main_line(self._forget(caller), self._secret, caller.asked, hello))

    def _admit(self, rank: int, line: Line) -> None:
        if rank in self._lines:
            self._lose(rank, self._lines[rank])  # It came again, since its first line broke.
        self._lines[rank] = line
        self._selector.register(line, selectors.EVENT_READ, rank)

    def _lose(self, rank: int, line: Line) -> None:
        """Its process ended: a rank says nothing before all are there."""
        if self._lines.get(rank) is line:
            del self._lines[rank]
            self._selector.unregister(line)
            line.close()

    def _turn_away(self, caller: _Caller, why: str) -> None:
        self._forget(caller).close()
        self._strangers += 1
        self._last_stranger = f"{why} (from {caller.address})"
        if self._strangers <= _TOLD:
            _log.warning("A connection from %s was turned away: %s.", caller.address, why)

    def _forget(self, caller: _Caller) -> socket.socket:
        del self._callers[caller.end.fileno()]
        self._selector.unregister(caller.end)
        return caller.end

    def _say(self, caller: _Caller, words: bytes) -> None:
        try:
            caller.end.send(words)  # So few bytes always fit.
        except OSError:
            return  # It is gone, which reading from it will show.


def addresses_to_listen_at(host: str, hosts: list[str]) -> list[str]:
    """The addresses of rank 0's `host`, and at the end all of this machine's, for who is behind a translation.

    A name that means this machine alone, though there are other `hosts`, means all of its addresses: Debian gives a
    machine's own name 127.0.1.1.
    """
    try:
        found: list[Any] = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    alone = len(set(hosts)) == 1
    return [each for each in addresses if alone or not ipaddress.ip_address(each.partition("%")[0]).is_loopback] + [""]
