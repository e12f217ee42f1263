"""Two hosts on one machine: network namespaces with an address each, joined by a wire."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ranks import launch

NAMES = ("paddle_resume_a", "paddle_resume_b")


@contextmanager
def joined_namespaces() -> Iterator[tuple[str, str]]:
    """Their names; skips the test where there can be none."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    commands = [["netns", "add", name] for name in NAMES]
    commands.append(
        ["link", "add", "wire0", "netns", NAMES[0], "type", "veth", "peer", "name", "wire1", "netns", NAMES[1]]
    )
    for number, name in enumerate(NAMES):
        commands.append(["-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"wire{number}"])
        commands += [["-n", name, "link", "set", device, "up"] for device in ("lo", f"wire{number}")]
    try:
        for command in commands:
            done = subprocess.run(["ip", *command], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        yield NAMES
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def launch_node(
    hosts: tuple[str, str], number: int, folder: Path, *command: object, nodes: int = 2
) -> subprocess.Popen[str]:
    """The command under Paddle's launcher on that host, one process on each of so many; logs are in `node<number>`."""
    master = ("--rank", str(number), "--master", "10.77.0.1:37777") if nodes > 1 else ()
    return launch(
        folder,
        *command,
        launcher=(
            *("--nnodes", str(nodes), "--nproc_per_node", "1", *master),
            *("--host", f"10.77.0.{number + 1}", "--log_dir", f"node{number}"),
        ),
        within=("ip", "netns", "exec", hosts[number]),
        GLOO_SOCKET_IFNAME=f"wire{number}",
    )
