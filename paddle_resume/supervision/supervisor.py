"""Runs a command until it is done, starting it again after each crash: the same command again continues the run."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from paddle_resume.supervision.attempt import Attempt
from paddle_resume.supervision.crashes import USER_MISTAKE, Crashes, Ending
from paddle_resume.supervision.process_count import ProcessCount
from paddle_resume.supervision.silence import MOST_STACKS, Silence, ask_for_stacks, read_stacks
from paddle_resume.translations import shown

_LONGEST_PAUSE = 60.0
_NAP_SECONDS = 0.1
_STACK_SECONDS = 2.0


@dataclass(frozen=True)
class Policy:
    """When to start again, and when to give up. All times are in seconds."""

    max_restarts: int = 10
    crash_loop: int = 3
    """So many crashes in a row that do not get past the same step are the end."""
    hang_timeout: Optional[float] = None
    """A rank that has not beaten for so long hangs; None: never."""
    start_timeout: Optional[float] = None
    """A command of which no rank has beaten for so long after its start hangs; None: never."""
    grace: float = 30.0
    """From SIGTERM to SIGKILL, when it is ended."""
    pause: float = 1.0
    """Before the first restart; doubled at each that follows without progress, up to a minute."""


class Supervisor:
    """Supervises one command; `save_dir` is where it saves, for programs that have no heartbeat.

    With `count` each attempt has as many processes as that says.
    """

    def __init__(
        self,
        command: Sequence[str],
        policy: Policy,
        save_dir: Optional[Path] = None,
        count: Optional[ProcessCount] = None,
    ) -> None:
        self._command = command
        self._count = count
        self._policy = policy
        self._save_dir = save_dir
        self._asked: Optional[int] = None
        self._attempt: Optional[Attempt] = None
        self._began = time.time()

    def run(self) -> int:
        """Run the command to its end; returns the exit code to leave with.

        SIGINT and SIGTERM are passed on, and the command is not started again then. Raises CrashLoopError, and
        ConfigError if there is no such command.
        """
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._keep_running()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _keep_running(self) -> int:
        crashes = Crashes(self._policy.crash_loop)
        for restarts in range(self._policy.max_restarts + 1):
            ending = self._live()
            if ending.status == 0 or self._asked is not None:
                return self._exit_code(ending.status)
            if ending.status == USER_MISTAKE:
                _tell("the command ended with exit code 2, which a restart would not mend.")
                return USER_MISTAKE
            crashes.note(ending)
            if crashes.is_loop:
                raise crashes.error()
            if restarts < self._policy.max_restarts:
                pause = min(_LONGEST_PAUSE, self._policy.pause * 2 ** (len(crashes.in_a_row) - 1))
                fewer = self._count.after_crash() if self._count is not None else ""
                _tell(f"{ending}; restart {restarts + 1} of {self._policy.max_restarts} in {pause:g} s{fewer}.")
                self._sleep(pause)
                if self._asked is not None:
                    return 128 + self._asked
        _tell(f"{ending}; no restart is left of {self._policy.max_restarts}.")
        return self._exit_code(ending.status)

    def _live(self) -> Ending:
        """One attempt, from its start until none of its processes is left."""
        attempt = self._attempt = Attempt(self._command if self._count is None else self._count.command())
        silence = Silence(attempt.folder)
        status, hung = None, False
        try:
            if self._asked is not None:  # It came just before there was anything to pass it on to.
                attempt.send(self._asked)
            while status is None:
                status = attempt.look()
                silence.look()
                if self._count is not None:
                    self._count.look(silence.beats)
                if status is None and self._hangs(attempt, silence):
                    hung = True
                    attempt.end(self._policy.grace)
        finally:
            if status != 0:
                # Ranks that have lost their launcher, and a writer that is finishing its save.
                attempt.end(self._policy.grace)
            silence.look()
            attempt.close()
            self._attempt = None
        return Ending(status, self._reached(silence), hung, attempt.last_lines)

    def _hangs(self, attempt: Attempt, silence: Silence) -> bool:
        """Whether a rank has been silent for too long; if so, tells which, and where it stands."""
        limit, start = self._policy.hang_timeout, self._policy.start_timeout
        if silence.furthest is None:
            if start is None or time.monotonic() - attempt.began < start:
                return False
            _tell(f"no rank has given a sign of life within {start:g} s of the start; ending the command.")
            return True
        silent = silence.hanging(limit) if limit is not None else []
        if not silent:
            return False
        others = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        _tell(f"no sign of life from {silent[0]}{others}; ending the command.")
        ask_for_stacks(attempt.folder, silent)
        asked = min(len(silent), MOST_STACKS)
        attempt.wait_for(lambda: len(read_stacks(attempt.folder, silent)) == asked, _STACK_SECONDS)
        attempt.look()  # A moment more, for the rest of what they write.
        for rank, lines in read_stacks(attempt.folder, silent).items():
            _tell(f"where rank {rank} stands:")
            print("\n".join(f"  {line}" for line in lines), file=sys.stderr, flush=True)
        return True

    def _reached(self, silence: Silence) -> Optional[int]:
        steps = [silence.furthest.step] if silence.furthest is not None else []
        if self._save_dir is not None:
            from paddle_resume.checkpoint.catalog import find_all

            records = [found.record for found in find_all(self._save_dir) if found.record is not None]
            steps += [
                record.step
                for record in records
                if datetime.fromisoformat(record.saved_at).timestamp() >= int(self._began)
            ]
        return max(steps, default=None)

    def _exit_code(self, status: int) -> int:
        """The status as shells give it; Paddle's launcher ends with the bare number of the signal that it got."""
        if status < 0:
            return 128 - status
        return 128 + status if status == self._asked else status

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._asked is None and time.monotonic() < end:
            time.sleep(min(_NAP_SECONDS, max(0.0, end - time.monotonic())))

    def _note(self, signum: int, frame: Optional[FrameType]) -> Any:
        self._asked = signum
        if self._attempt is not None:
            self._attempt.send(signum)


def _tell(text: str) -> None:
    print(f"run: {shown(text)}", file=sys.stderr, flush=True)
