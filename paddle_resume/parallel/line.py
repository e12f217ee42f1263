"""A connection between two processes of a run: each proves that it knows the secret, and so does each message.

Nothing is unpickled whose code does not fit. It is not secret what is sent: it could be read on the way, not altered.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import secrets
import socket
import struct
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

_BANNER = b"paddle_resume 2 "
_HELLO = struct.Struct("<16sII32s32s")
_NONCE = _PROOF = 32
_CODE = 16
CHALLENGE_BYTES = len(_BANNER) + _NONCE
HELLO_BYTES = _HELLO.size
REPLY_BYTES = 1 + _PROOF

WELCOME, WRONG_SECRET, OTHER_SIZE = 1, 2, 3


class NotOfThisRun(Exception):
    """What the other end said is not what a process of this run says."""


class Line:
    """A connection whose other end has proved that it knows the secret. Raises OSError and EOFError when it is gone."""

    def __init__(self, end: socket.socket, key: bytes, ours: bytes, theirs: bytes) -> None:
        end.settimeout(None)
        # A long message is sent in two parts: else the second waits 40 ms for the other end's word.
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = Connection(end.detach())
        self._keys = [_mac(key, b"messages", each) for each in (ours, theirs)]
        self._counts = [0, 0]

    def fileno(self) -> int:
        """So that `multiprocessing.connection.wait` waits for it."""
        return self._connection.fileno()

    def poll(self, seconds: float) -> bool:
        return self._connection.poll(seconds)

    def send(self, value: Any) -> None:
        body = pickle.dumps(value)
        self._connection.send_bytes(self._code(0, body) + body)

    def receive(self) -> Any:
        """The next value; raises NotOfThisRun for a message that was altered, repeated or put in."""
        message = memoryview(self._connection.recv_bytes())
        if not hmac.compare_digest(self._code(1, message[_CODE:]), message[:_CODE]):
            raise NotOfThisRun
        return pickle.loads(message[_CODE:])

    def close(self) -> None:
        self._connection.close()

    def _code(self, direction: int, body: Any) -> bytes:
        number = struct.pack("<Q", self._counts[direction])
        self._counts[direction] += 1
        code = hashlib.blake2b(number, digest_size=_CODE, key=self._keys[direction])
        code.update(body)
        return code.digest()


class Hello(NamedTuple):
    """What a process says of itself: which rank it is, and of how many."""

    rank: int
    size: int
    nonce: bytes
    proof: bytes


def challenge() -> bytes:
    """The first word of rank 0, another each time: an answer that somebody has overheard fits no other."""
    return _BANNER + secrets.token_bytes(_NONCE)


def read_hello(said: bytes) -> Hello:
    """What the whole or the first part of a hello tells; raises NotOfThisRun once it can be none."""
    if not _BANNER.startswith(said[: len(_BANNER)]):
        raise NotOfThisRun
    return Hello(*_HELLO.unpack(said.ljust(_HELLO.size, b"\0"))[1:])


def knows(secret: bytes, asked: bytes, hello: Hello) -> bool:
    """Whether who said `hello` when `asked` knows the secret."""
    return hmac.compare_digest(hello.proof, _proof(secret, b"other", asked, hello))


def welcome(secret: bytes, asked: bytes, hello: Hello) -> bytes:
    """Rank 0's reply to a hello, by which it proves itself too."""
    return bytes([WELCOME]) + _proof(secret, b"rank 0", asked, hello)


def refuse(reason: int) -> bytes:
    """Rank 0's reply to a hello that it does not take."""
    return bytes([reason]) + bytes(_PROOF)


def main_line(end: socket.socket, secret: bytes, asked: bytes, hello: Hello) -> Line:
    """Rank 0's end of the line to who said `hello`."""
    return Line(end, _proof(secret, b"line", asked, hello), b"rank 0", b"other")


def join(end: socket.socket, secret: bytes, rank: int, size: int) -> tuple[int, Line]:
    """Say hello to rank 0 at the other end; its reply, and the line, which is good only after WELCOME.

    Raises NotOfThisRun if it is not rank 0, EOFError if it ends before, and OSError.
    """
    asked = _exactly(end, CHALLENGE_BYTES)
    if not asked.startswith(_BANNER):
        raise NotOfThisRun
    hello = Hello(rank, size, os.urandom(_NONCE), b"")
    hello = hello._replace(proof=_proof(secret, b"other", asked, hello))
    end.sendall(_HELLO.pack(_BANNER, *hello))
    reply = _exactly(end, REPLY_BYTES)
    if reply[0] == WELCOME and not hmac.compare_digest(reply[1:], _proof(secret, b"rank 0", asked, hello)):
        raise NotOfThisRun
    return reply[0], Line(end, _proof(secret, b"line", asked, hello), b"other", b"rank 0")


def _proof(secret: bytes, who: bytes, asked: bytes, hello: Hello) -> bytes:
    return _mac(secret, who, asked, struct.pack("<II", hello.rank, hello.size), hello.nonce)


def _mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b"".join(struct.pack("<I", len(part)) + part for part in parts), hashlib.sha256).digest()


def _exactly(end: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = end.recv(count - len(got))
        if not more:
            raise EOFError
        got += more
    return got
