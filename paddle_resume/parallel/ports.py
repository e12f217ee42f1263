"""Ports of this machine for connections between the processes of a run."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
