"""How the attempts ended, and whether they make a crash loop: ending again and again without getting further."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Optional

from paddle_resume.errors import PaddleResumeError

USER_MISTAKE = 2
"""The exit code of an error that a person has to mend: a restart would only meet it again."""
# Paddle's launcher hands on the negative status of a rank as its own exit code, which the kernel cuts to 8 bits.
_HIGHEST_SIGNAL = 64


class CrashLoopError(PaddleResumeError):
    """A command that crashes again and again without getting past a step."""


@dataclass(frozen=True)
class Ending:
    """How one attempt ended: its status as in `subprocess`, and the step it came to (None: it told of none)."""

    status: int
    step: Optional[int] = None
    hung: bool = False
    last_lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        how = "hung and was ended" if self.hung else f"ended with {describe_status(self.status)}"
        return f"{how} {'before it told of a step' if self.step is None else f'at step {self.step}'}"


@dataclass
class Crashes:
    """The crashes since the run last got further than ever before."""

    limit: int
    """So many of them in a row are a crash loop."""
    furthest: Optional[int] = None
    in_a_row: list[Ending] = field(default_factory=list)

    def note(self, ending: Ending) -> None:
        if ending.step is not None and (self.furthest is None or ending.step > self.furthest):
            self.furthest = ending.step
            self.in_a_row.clear()
        self.in_a_row.append(ending)

    @property
    def is_loop(self) -> bool:
        return len(self.in_a_row) >= self.limit

    def error(self) -> CrashLoopError:
        """The report: which step, how often, how it ended, what it said last, and what to try."""
        count, last = len(self.in_a_row), self.in_a_row[-1]
        times = "once" if count == 1 else f"{count} times in a row"
        place = "coming to a step" if self.furthest is None else f"getting past step {self.furthest}"
        text = f"The command crashed {times} without {place}, so it is not started again."
        attempts = "\n".join(f"  attempt {i + 1} of these {ending}" for i, ending in enumerate(self.in_a_row))
        lines = "\n".join(f"  {line}" for line in last.last_lines) or "  (nothing)"
        return CrashLoopError(f"{text}\n{attempts}\nIts last lines on stderr:\n{lines}\nWhat to try: {self._advice()}")

    def _advice(self) -> str:
        steps = {ending.step for ending in self.in_a_row}
        if self.furthest is None:
            advice = (
                "run the command by itself, and mend its first error. If it does make steps it gives no heartbeat, so "
                "name the folder of its checkpoints with --save-dir."
            )
        elif len(steps) == 1:
            advice = "it is always the same step, so look at what is special in it: its data, the memory it needs."
        else:
            advice = (
                "it ends at different steps, before it can save: save more often, such as with "
                "-o checkpoint.every_minutes=5, and look at what ends it."
            )
        if any(signal_of(ending.status) == signal.SIGKILL and not ending.hung for ending in self.in_a_row):
            advice += " SIGKILL without a word is most often the kernel out of memory: see dmesg."
        if any(ending.hung for ending in self.in_a_row):
            advice += (
                " The stacks above show where it hangs; if it only takes long there, give a longer --hang-timeout."
            )
        return advice


def signal_of(status: int) -> Optional[int]:
    """The signal that a status tells of: -9, a shell's 137, or the 247 of Paddle's launcher are all SIGKILL's."""
    if status < 0:
        return -status
    if 128 < status <= 128 + _HIGHEST_SIGNAL:
        return status - 128
    return 256 - status if 256 - _HIGHEST_SIGNAL < status < 256 else None


def describe_status(status: int) -> str:
    """Such as `exit code 1`, `SIGKILL` or `exit code 247 (SIGKILL)`."""
    number = signal_of(status)
    try:
        name = signal.Signals(number).name if number else ""
    except ValueError:
        name = f"signal {number}"
    if status < 0:
        return name
    return f"exit code {status}" + (f" ({name})" if name else "")
