"""Two tokenizers that need no training: every character, or every byte, is a token.

Any object with `vocab_size`, `encode(text)` and `decode(ids)` can take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Union

import numpy as np

from paddle_resume.errors import DataError

_MISSING = np.iinfo(np.int32).max


class Tokenizer(Protocol):
    """What turns a text into ids 0..vocab_size-1 and back, always in the same way."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> Union[np.ndarray, Sequence[int]]: ...

    def decode(self, ids: Union[np.ndarray, Sequence[int]]) -> str: ...


class CharacterTokenizer:
    """One token for each character that occurs in `text`, in the order of their code points."""

    def __init__(self, text: str) -> None:
        points = np.unique(_code_points(text))
        highest = int(points[-1]) if len(points) else -1
        self._ids = np.full(highest + 2, _MISSING, np.int32)  # the last one is for all above
        self._ids[points] = np.arange(len(points))
        self._points = points

    @property
    def vocab_size(self) -> int:
        return len(self._points)

    def encode(self, text: str) -> np.ndarray:
        """Ids int32 [characters]; raises DataError naming a character that is not in the vocabulary."""
        ids = self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]
        if (ids == _MISSING).any():
            unknown = text[int(np.argmax(ids == _MISSING))]
            raise DataError(
                f"The character {unknown!r} is not among the {self.vocab_size} characters of the text that the "
                "vocabulary was made from. Leave it out, or use the byte tokenizer, which knows all."
            )
        return ids

    def decode(self, ids: Union[np.ndarray, Sequence[int]]) -> str:
        return self._points[np.asarray(ids, np.int64)].astype("<u4").tobytes().decode("utf-32-le")


class ByteTokenizer:
    """One token for each of the 256 bytes of UTF-8: knows every text, whatever it was trained on."""

    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """Ids uint8 [bytes]."""
        return np.frombuffer(text.encode("utf-8"), np.uint8)

    def decode(self, ids: Union[np.ndarray, Sequence[int]]) -> str:
        """The text; bytes that are no UTF-8 become U+FFFD."""
        return np.asarray(ids, np.uint8).tobytes().decode("utf-8", errors="replace")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
