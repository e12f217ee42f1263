"""A text as a dataset for a language model: windows of tokens, and the token that follows each of them."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle
import xxhash

from paddle_resume.data.splits import Share, check_split, held_out
from paddle_resume.data.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer
from paddle_resume.errors import ConfigError, DataError

_TOKENIZERS = ("characters", "bytes")


class TextDataset(paddle.io.Dataset):
    """Windows of a text that do not overlap: sample i is `(ids, next ids)`, both int64 [context].

    Args:
        files: paths and glob patterns of UTF-8 texts, joined by a newline in the order given, those of one pattern
            sorted by name. None is a text that comes with Python: the language reference behind its `help()`.
        context: tokens a window.
        tokenizer: "characters" (the vocabulary is what occurs in the whole text), "bytes", or an object such as
            `paddle_resume.data.tokenizers.Tokenizer` describes.
        mode: the part, "train", "valid" or "test". By position: the test part is the end of the text, the
            validation part the end of what is before it.
        valid, test: how much of the windows before that position: "auto" one sixth, a count, or a fraction.
        root: the folder that `files` are relative to; None is the working directory.

    Raises ConfigError for a wrong argument, DataError for text that is missing, unreadable or too short.
    """

    # A whole batch is cheaper than its samples one by one: see Feed.
    can_gather = True

    def __init__(
        self,
        files: Union[str, Sequence[str], None] = None,
        context: int = 128,
        tokenizer: Union[str, Tokenizer] = "characters",
        mode: str = "train",
        valid: Share = "auto",
        test: Share = 0.1,
        root: Optional[str] = None,
    ) -> None:
        check_split(mode)
        if context < 1:
            raise ConfigError(f"data.context is {context}; expected 1 or more tokens.")
        text, self.source = _python_reference() if files is None else _read_files(files, Path(root or "."))
        self.tokenizer = _tokenizer(tokenizer, text)
        ids = _encode(self.tokenizer, text)
        total = max(0, len(ids) - 1) // context
        if total < 3:
            raise DataError(
                f"{self.source} has {len(ids)} tokens, but training, validation and test need at least one window of "
                f"{context} tokens each and one token more, {3 * context + 1} in all. Give more text, or a smaller "
                "data.context."
            )
        # Each part has one token more than its windows, for the last target.
        begin_test = total - held_out(test, total, "data.test")
        begin_valid = begin_test - held_out(valid, begin_test, "data.valid")
        start, stop = {"train": (0, begin_valid), "valid": (begin_valid, begin_test), "test": (begin_test, total)}[mode]
        smallest = np.min_scalar_type(self.tokenizer.vocab_size - 1)
        self.ids = ids[start * context : stop * context + 1].astype(smallest)
        self.ids.flags.writeable = False
        self.context = context
        self._windows = self.ids[:-1].reshape(-1, context)
        self._targets = self.ids[1:].reshape(-1, context)
        self._text_digest = xxhash.xxh3_128_hexdigest(text.encode("utf-8"))

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._windows[index].astype(np.int64), self._targets[index].astype(np.int64)

    def gather(self, indices: Union[np.ndarray, Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """The samples at `indices`, in that order: ids and next ids, both int64 [B, context], new at each call."""
        return (
            self._windows.take(indices, axis=0).astype(np.int64),
            self._targets.take(indices, axis=0).astype(np.int64),
        )

    def describe(self) -> dict[str, Any]:
        """What a model may want to know: `vocab_size` and `context`."""
        return {"vocab_size": self.tokenizer.vocab_size, "context": self.context}

    @property
    def notes(self) -> list[str]:
        """What a user should know about this text."""
        return [
            f"a model that knew no more than how often each token occurs would have a perplexity of "
            f"{self.unigram_perplexity:.4g}"
        ]

    @cached_property
    def unigram_perplexity(self) -> float:
        """exp of the entropy of single tokens in this part: the perplexity of their frequencies alone."""
        counts = np.bincount(self.ids)
        shares = counts[counts > 0] / len(self.ids)
        return math.exp(-float((shares * np.log(shares)).sum()))

    def identity(self) -> str:
        """32 hexadecimal digits (xxh3_128) that change with the text, its tokens, the window and the part."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        facts = (self._text_digest, self.tokenizer.vocab_size, self.context, self.ids.dtype.str)
        digest = xxhash.xxh3_128(repr(facts).encode())
        digest.update(self.ids.data)
        return digest.hexdigest()


def _tokenizer(wanted: Union[str, Tokenizer], text: str) -> Tokenizer:
    if not isinstance(wanted, str):
        return wanted
    if wanted not in _TOKENIZERS:
        raise ConfigError(f"data.tokenizer is {wanted!r}; expected {' or '.join(_TOKENIZERS)}.")
    return ByteTokenizer() if wanted == "bytes" else CharacterTokenizer(text)


def _encode(tokenizer: Tokenizer, text: str) -> np.ndarray:
    ids = np.asarray(tokenizer.encode(text))
    if not len(ids):
        return ids.astype(np.int64)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not 0 <= ids.min() <= ids.max() < tokenizer.vocab_size:
        found = f"{ids.dtype} {list(ids.shape)}" + (
            f" from {ids.min()} to {ids.max()}" if ids.dtype.kind in "iu" else ""
        )
        raise DataError(
            f"The tokenizer {type(tokenizer).__name__} gave {found}; expected one integer a token, from 0 to "
            f"vocab_size - 1 = {tokenizer.vocab_size - 1}."
        )
    return ids


def _python_reference() -> tuple[str, str]:
    """The topics of Python's `help()`, in the order of their names: about half a million characters of English."""
    topics: dict[str, str] = {}
    with contextlib.suppress(ImportError):
        topics = importlib.import_module("pydoc_data.topics").topics
    if not topics:
        raise DataError(
            "This Python has no pydoc_data, the text of its help(), which stands in where data.files names none. "
            "Name files of your own in data.files, or install the whole standard library (Debian: libpython3-stdlib)."
        )
    return "\n\n".join(topics[name] for name in sorted(topics)), "the help texts of this Python (pydoc_data.topics)"


def _read_files(files: Union[str, Sequence[str]], root: Path) -> tuple[str, str]:
    """The text, and one line on where it came from."""
    patterns = [files] if isinstance(files, str) else list(files)
    paths = list(dict.fromkeys(path for pattern in patterns for path in _matching(pattern, root)))
    if not paths:
        raise ConfigError('data.files is empty; give paths or patterns such as [a.txt, "corpus/*.txt"].')
    text = "\n".join(map(_read, paths))
    return text, str(paths[0]) if len(paths) == 1 else f"{len(paths)} files, {paths[0]} to {paths[-1]}"


def _matching(pattern: str, root: Path) -> list[Path]:
    path = root / pattern
    if path.is_file():  # Also one whose name has a bracket in it.
        return [path]
    base = Path(path.anchor) if Path(pattern).is_absolute() else root
    relative = str(path.relative_to(path.anchor)) if Path(pattern).is_absolute() else pattern
    found = sorted(match for match in base.glob(relative) if match.is_file())
    if not found:
        what = "is a folder" if path.is_dir() else "matches no file"
        raise DataError(
            f"data.files: {pattern} {what} in {root.resolve()}. Give the path of a text file, or a pattern such as "
            '"corpus/*.txt" ("corpus/**/*.txt" looks into subfolders too).'
        )
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}. Convert it, for example "
            f"with `iconv -f LATIN1 -t UTF-8 {path.name}`."
        ) from error
