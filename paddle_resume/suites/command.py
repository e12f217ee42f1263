"""The command that a wrapped run is started by, which decides its course like a config does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from paddle_resume.differences import Difference
from paddle_resume.errors import CheckpointError

_SETTINGS = (".yml", ".yaml", ".json", ".py", ".toml", ".cfg", ".ini")


class Command:
    """Owner of the command: recorded and compared, never restored."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._state: dict[str, Any] = {
            "arguments": list(arguments),
            "files": {each: digest for each in arguments if (digest := _digest_of(each))},
            "suite": "",
        }

    @property
    def suite(self) -> str:
        """The suite and version that the program turned out to be of; empty for none."""
        return self._state["suite"]

    @suite.setter
    def suite(self, suite: str) -> None:
        self._state["suite"] = suite

    def require_same(self, state: Any) -> None:
        """Raises CheckpointError if a run that is complete was started by another command."""
        found = self.differences_but_suite(state) if isinstance(state, dict) else []
        if found:
            raise CheckpointError(
                f"The run of these checkpoints is complete, and differs from this one: {'; '.join(map(str, found))}. "
                "Give this run another --save-dir or --name; what was trained longer begins as a new run from its last "
                "files, by the program's own option."
            )

    def differences_but_suite(self, state: dict[str, Any]) -> list[Difference]:
        """What differs, where it is not known yet of which suite the program is."""
        return self.differences({**state, "suite": self.suite})

    def state_dict(self) -> dict[str, Any]:
        return self._state

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        found = []
        before, now = " ".join(state["arguments"]), " ".join(self._state["arguments"])
        if before != now:
            found.append(Difference("the command", before, now))
        if state["suite"] != self._state["suite"]:
            found.append(Difference("the suite", state["suite"], self._state["suite"]))
        for file, digest in state["files"].items():
            if self._state["files"].get(file, digest) != digest:
                found.append(Difference(f"the content of {file}", digest, self._state["files"][file]))
        return found


def _digest_of(argument: str) -> str:
    """A digest of the file of settings that an argument names, or an empty text."""
    path = Path(argument.rpartition("=")[2])
    if path.suffix not in _SETTINGS or not path.is_file():
        return ""
    return xxhash.xxh3_64_hexdigest(path.read_bytes() + os.fsencode(path.name))
