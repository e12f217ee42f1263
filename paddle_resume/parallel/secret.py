"""The secret that the processes of a run share, by which they know each other: given to all, or kept in a file.

As with Erlang's cookie: who may read the file of the user who trains may as well be that user.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from paddle_resume.errors import ParallelError

VARIABLE = "PADDLE_RESUME_SECRET"
_SHORTEST = 16
_BYTES = 32


def shared_secret() -> bytes:
    """32 bytes; from `PADDLE_RESUME_SECRET`, or from a file that only this user can read, made where it is missing.

    Raises ParallelError if others can read the file, or it cannot be made.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        if len(given) < _SHORTEST:
            raise ParallelError(
                f"{VARIABLE} has {len(given)} letters, which can be guessed. Give all processes the same {_SHORTEST} "
                "or more, drawn by chance, such as those that `openssl rand -hex 32` prints; or unset it."
            )
        return hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
    reasons = []
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _read_or_make(folder / "secret")
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
    raise ParallelError(
        f"The secret by which the processes of a run know each other can be kept nowhere ({'; '.join(reasons)}). "
        f"Set {VARIABLE} to the same random text for all of them."
    )


def _folders() -> list[Path]:
    """Where the file may lie: the home folder, which the nodes of a cluster mostly share, or this machine's own."""
    folders = []
    with contextlib.suppress(RuntimeError):  # There is no home folder.
        folders.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "paddle_resume")
    return [*folders, Path(tempfile.gettempdir()) / f"paddle_resume-{os.geteuid()}"]


def _read_or_make(path: Path) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
        return _read(path)


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        content = os.read(fd, _BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077 or len(content) != _BYTES:
        raise ParallelError(
            f"{path}, by which the processes of a run know each other, has to be a file of {_BYTES} bytes that only "
            "this user can read. Remove it, and it is made anew."
        )
    return content


def _make(path: Path) -> None:
    """Several processes may do so at once, and any may be killed meanwhile: the first whole one counts."""
    new = path.with_name(f".secret.{secrets.token_hex(8)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(fd, secrets.token_bytes(_BYTES))
        finally:
            os.close(fd)
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()
