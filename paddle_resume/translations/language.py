"""Which language a person asked for: by `set_language` or `--lang`, by PADDLE_RESUME_LANG, or by their locale."""

from __future__ import annotations

import os
import sys
from typing import Optional

from paddle_resume.errors import ConfigError

LANGUAGES = ("en", "zh")
VARIABLE = "PADDLE_RESUME_LANG"
# As POSIX and gettext have it: the first of these that is set decides.
_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_CHINESE_PRIMARY_LANGUAGE = 0x04  # Of Windows' identifiers, in their lowest ten bits.

# The language by what the variable says, which a process that is forked from another may find otherwise.
_by_variable: dict[str, str] = {}


def language() -> str:
    """`en` or `zh`; a process whose output cannot print Chinese speaks English all the same."""
    given = os.environ.get(VARIABLE, "")
    if given not in _by_variable:
        _by_variable[given] = _asked_for(given.strip()) if _can_print_chinese() else "en"
    return _by_variable[given]


def choose_language(name: Optional[str]) -> None:
    """As `set_language`, but for what Python prints of errors."""
    if name is None:
        os.environ.pop(VARIABLE, None)
    else:
        known = _known(name) if isinstance(name, str) else None
        if known is None:
            raise ConfigError(f"There are no messages in {name!r}; expected one of {', '.join(LANGUAGES)}.")
        os.environ[VARIABLE] = known
    _by_variable.clear()


def _asked_for(given: str) -> str:
    if given:
        known = _known(given)
        if known is None:
            expected = f"expected one of {', '.join(LANGUAGES)}. Messages are in English."
            print(f"{VARIABLE} is {given}; {expected}", file=sys.stderr)
        return known or "en"
    if sys.platform == "win32":
        return _windows_language()
    if os.environ.get("TERM") == "linux":
        return "en"  # The kernel's own console has no Chinese glyphs: nobody could read a word.
    locale = next(filter(None, map(os.environ.get, _LOCALE_VARIABLES)), "")
    if locale.split(".")[0] not in ("", "C", "POSIX"):
        # gettext's list of languages, most wanted first, which counts unless the locale is C.
        locale = next(filter(None, os.environ.get("LANGUAGE", "").split(":")), locale)
    return _known(locale) or "en"


def _known(name: str) -> Optional[str]:
    """The language of `zh`, `zh_CN.UTF-8`, `zh-Hans` and the like; None if it is none of ours."""
    primary = name.strip().lower().replace("-", "_").split(".")[0].split("_")[0]
    return {"cn": "zh", "c": "en", "posix": "en"}.get(primary, primary if primary in LANGUAGES else None)


def _windows_language() -> str:
    import ctypes

    windows = getattr(ctypes, "windll", None)
    found = windows.kernel32.GetUserDefaultUILanguage() if windows is not None else 0
    return "zh" if found & 0x3FF == _CHINESE_PRIMARY_LANGUAGE else "en"


def _can_print_chinese() -> bool:
    """Whether both streams can encode it: under an ASCII or a western code page a print would raise otherwise."""
    for stream in (sys.stdout, sys.stderr):
        try:
            "中文，。".encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
    return True
