"""The command that started this process, as a person would type it again; secrets are left out of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

_HIDDEN = "***"
_SECRET = re.compile(r"(?i)(token|secret|passw|api[-_]?key|access[-_]?key|credential|auth)")
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")
_MOST_PARENTS = 8
# Of `train` and its like: they say where to begin, and have been obeyed once the run is under way.
_OF_THE_START = {"--resume": 1, "--overwrite": 0}

_given: Optional[list[str]] = None  # what the program's main() was called with


@contextmanager
def called_with(arguments: Sequence[str]) -> Iterator[None]:
    """Have `paddle-resume ARGUMENTS` be the command, unless the process itself was started with these arguments."""
    global _given
    before, _given = _given, list(arguments)
    try:
        yield
    finally:
        _given = before


def is_of_a_command() -> bool:
    """Whether one of the commands of `paddle-resume` is running, rather than a program that uses the package."""
    return _given is not None


def given_arguments() -> list[str]:
    """What the command of `paddle-resume` that is running was called with, its name included."""
    return list(_given or ())


def this_command() -> str:
    """The command as one line for a shell; empty where there is none, as in a notebook."""
    words = _words()
    return _joined(words) if words else ""


def with_options(*options: str, environment: Optional[Mapping[str, Optional[str]]] = None, anew: bool = False) -> str:
    """The command with these options as well; empty where there is none.

    It is given variables of the environment (None: without that one). `anew` leaves out what says where to begin.
    """
    words = _words()
    if not words:
        return ""
    kept = _without(words, _OF_THE_START) if anew else words
    added = [option for option in options if not (option.startswith("--") and option in kept)]
    return _before(environment or {}) + _joined([*kept, *added])


def continuing() -> str:
    """The command that goes on from what this one has saved: without what says where to begin."""
    words = _words()
    if _given is not None or "paddle_resume.wrap" in words:
        words = _without(words, _OF_THE_START)
    return _joined(words) if words else ""


def run_again(purpose: str = "to continue") -> str:
    """A sentence that asks for the command that goes on, with the command to paste where there is one."""
    command = continuing()
    what = "Run the same cell again" if _is_notebook() else "Run the same command again"
    what += f" {purpose}" if purpose else ""
    return f"{what}:\n  {command}" if command else f"{what}."


def with_command(text: str) -> str:
    """`text`; where it asks for the same command again, with that command below it."""
    command = continuing()
    if not command or "same command" not in text or text.endswith(command):
        return text
    return f"{text}\nThe same command:\n  {command}"


def _words() -> list[str]:
    """What was typed for this process, as far as it can be told; nothing if no command of a person's started it."""
    if _given is not None and not (_is_tail(_given, sys.argv[1:]) and len(_given) <= len(sys.argv)):
        return _safe(["paddle-resume", *_given])
    if _is_notebook() or not sys.argv or sys.argv[0] in ("", "-c", "-"):
        return []
    return _safe(_of_the_starter(_own_words()))


def _own_words() -> list[str]:
    words = _command_of(os.getpid())
    # A forked process may play another program than the one that was started.
    return words if words and _is_tail(words, sys.argv[1:]) else [sys.executable, *sys.argv]


def _of_the_starter(words: list[str]) -> list[str]:
    """The words of a launcher or supervisor whose last words are this command's own, or these."""
    script = words[1:] if words and Path(words[0]).name.startswith("python") else words
    script = script[1:] if script[:1] == ["-u"] else script
    found, pid = words, os.getppid()
    for _ in range(_MOST_PARENTS):
        if pid <= 1 or not script:
            break
        theirs = _command_of(pid)
        if len(theirs) > len(script) and _is_tail(theirs, script):
            found = theirs
        pid = _parent_of(pid)
    return found


def _command_of(pid: int) -> list[str]:
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _joined(words: Sequence[str]) -> str:
    words = list(words)
    if len(words) > 1 and Path(words[0]).name.startswith("python"):
        words = words[1:] if _is_installed_command(words[1]) else [_shortest(words[0], "python"), *words[1:]]
    words[0] = _shortest(words[0])
    # `$NAME` stands for a secret that the environment has: the shell is to fill it in again.
    return " ".join(word if re.fullmatch(r"[\w.=:/-]*\$\{?\w+\}?", word) else shlex.quote(word) for word in words)


def _before(environment: Mapping[str, Optional[str]]) -> str:
    """What a shell line begins with to set variables, and to do without others."""
    unset = "".join(f"-u {name} " for name, value in environment.items() if value is None)
    given = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items() if value is not None)
    return f"env {unset}{given}" if unset else given


def _is_installed_command(path: str) -> bool:
    found = shutil.which(Path(path).name)
    return found is not None and Path(path).is_absolute() and Path(found).resolve() == Path(path).resolve()


def _shortest(path: str, *names: str) -> str:
    """The name by which the shell finds the program, or its path."""
    for name in (*names, Path(path).name):
        found = shutil.which(name)
        if found is not None and Path(found).resolve() == Path(path).resolve():
            return name
    return path


def _safe(words: Sequence[str], environment: Optional[Mapping[str, str]] = None) -> list[str]:
    """The words without secrets: what the environment holds as one becomes its name, what looks like one `***`."""
    held = os.environ if environment is None else environment
    secrets = {value: name for name, value in held.items() if len(value) >= 4 and _SECRET.search(name)}
    safe: list[str] = []
    hide = False
    for word in words:
        for value, name in secrets.items():
            word = word.replace(value, f"${name}")
        key, equals, value = word.partition("=")
        if "$" not in word and hide and not word.startswith("-"):
            word = _HIDDEN
        elif "$" not in word and equals and value and _SECRET.search(key.rpartition(".")[2]):
            word = f"{key}={_HIDDEN}"
        hide = word.startswith("--") and not equals and bool(_SECRET.search(word))
        safe.append(_URL_PASSWORD.sub(rf"\1:{_HIDDEN}@", word))
    return safe


def _without(words: Sequence[str], options: Mapping[str, int]) -> list[str]:
    """The words without these options and as many values after each."""
    kept: list[str] = []
    skip = 0
    for word in words:
        name, equals, _ = word.partition("=")
        if skip:
            skip -= 1
        elif name in options:
            skip = 0 if equals else options[name]
        else:
            kept.append(word)
    return kept


def _is_tail(words: Sequence[str], tail: Sequence[str]) -> bool:
    return list(words)[len(words) - len(tail) :] == list(tail)


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules
