"""Two ends of a TCP connection within one process."""

from __future__ import annotations

import socket

from paddle_resume.parallel.line import Line


def two_lines(key: bytes = b"k" * 32) -> tuple[Line, Line]:
    """Rank 0's line to another rank, and that rank's to it."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        theirs = socket.create_connection(door.getsockname())
        ours, _ = door.accept()
    return Line(ours, key, b"rank 0", b"other"), Line(theirs, key, b"other", b"rank 0")
