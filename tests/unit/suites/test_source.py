"""What a source tells of its loops, and the same program with each `for` open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddle_resume.suites.source import HOOK, Source

TEXT = """import os


@staticmethod
def train(loader, epochs):
    # A comment.
    for epoch in range(epochs):
        while True:
            for i, batch in enumerate(
                loader
            ):
                pass
            else:
                last = 1
            break


class Trainer:
    def fit(self):
        for batch in self.loader: yield batch
        [x for x in range(3)]

        def inner():
            for _ in (): pass
"""


def made(tmp_path: Path, text: str = TEXT) -> Source:
    path = tmp_path / "program.py"
    path.write_text(text)
    return Source(str(path))


def test_functions_and_their_loops(tmp_path: Path) -> None:
    source = made(tmp_path)
    assert {each.qualname for each in source.functions.values()} == {
        "<module>", "train", "Trainer.fit", "Trainer.fit.<locals>.inner",
    }  # fmt: skip
    train = source.function("train", 4)
    assert train is not None
    assert [loop.text for loop in train.loops] == [
        "for epoch in range(epochs)", "while True", "for (i, batch) in enumerate(loader)",
    ] or [loop.text for loop in train.loops][2] == "for i, batch in enumerate(loader)"  # fmt: skip
    assert [(loop.first, loop.last) for loop in train.loops] == [(7, 15), (8, 15), (9, 12)]
    fit = source.named("Trainer.fit")
    assert fit is not None and len(fit.loops) == 1


def test_the_digest_is_of_the_code(tmp_path: Path) -> None:
    first = made(tmp_path).named("train")
    moved = made(tmp_path, "\n\n" + TEXT.replace("    # A comment.\n", "\n    # Another one.\n\n")).named("train")
    other = made(tmp_path, TEXT.replace("last = 1", "last = 2")).named("train")
    assert first is not None and moved is not None and other is not None
    assert first.digest == moved.digest != other.digest


def test_each_for_asks_and_all_else_stays(tmp_path: Path) -> None:
    source = made(tmp_path, "found = []\nfor a in range(2):\n    for b in 'xy':\n        found.append((a, b))\n")
    asked: list[Any] = []

    def begin(line: int, iterable: Any) -> Any:
        asked.append(line)
        return iter(iterable)

    names: dict[str, Any] = {HOOK: begin}
    exec(compile(source.rewritten(), source.path, "exec"), names)
    assert names["found"] == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]
    assert asked == [2, 3, 3]
