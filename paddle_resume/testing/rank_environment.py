"""The environment of each process of a run, for processes that are started without Paddle's launcher."""

from __future__ import annotations

from paddle_resume.parallel.ports import free_ports


def launcher_environments(ranks: int, master: int = 0) -> list[dict[str, str]]:
    """The variables that Paddle's launcher gives each of `ranks` processes on this machine, by rank.

    Its own checks, which take seconds, are left out. `master` is the port on which Paddle connects them; 0 takes one
    that is free. They talk over gloo, which needs no GPU.
    """
    ports = free_ports(ranks + 1)
    endpoints = [f"127.0.0.1:{port}" for port in ports[1:]]
    return [
        {
            "PADDLE_MASTER": f"127.0.0.1:{master or ports[0]}",
            "PADDLE_TRAINER_ID": str(rank),
            "PADDLE_TRAINERS_NUM": str(ranks),
            "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
            "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
            "PADDLE_DISTRI_BACKEND": "gloo",
        }
        for rank in range(ranks)
    ]
