"""Draws a confusion matrix with Pillow, so that training needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

_SIDE = 900  # pixels of the matrix at most, as long as a class has one
_CELL = 46  # of a few classes: room for a number such as 99.5
_NUMBERS_FROM, _NAMES_FROM = 34, 12  # cells smaller than that have no number, no name
_LONGEST_NAME = 14
_PALE, _DEEP = np.array([247, 250, 255.0]), np.array([8, 48, 107.0])
_INK, _FAINT, _PAPER = (40, 40, 40), (120, 120, 120), (255, 255, 255)


def draw_confusion_matrix(counts: np.ndarray, class_names: Optional[Sequence[str]] = None) -> np.ndarray:
    """The picture, uint8 [H, W, 3], of `counts` [C, C] by `[label, predicted]`.

    Each row is in percent of its label's samples, whose number stands at its end; a cell that never occurred is
    empty. Names that the built-in font cannot write are replaced by the class's number. From 27 classes on cells
    are too small for numbers, from 76 on for names.
    """
    from PIL import Image, ImageDraw

    classes = len(counts)
    cell = max(1, min(_CELL, _SIDE // classes))
    names = [_written(str(name), i) for i, name in enumerate(class_names or range(classes))]
    with_names, with_numbers = cell >= _NAMES_FROM, cell >= _NUMBERS_FROM
    small, large = _font(min(13, cell - 1) if with_names else 13), _font(15)
    name_width = int(max(small.getlength(name) for name in names)) if with_names else 0
    totals = [f"{total:,}" for total in counts.sum(1).tolist()]
    left, top = name_width + 44, name_width + 44
    right = 24 + (int(max(small.getlength(total) for total in totals)) if with_names else 0)
    canvas = Image.new("RGB", (left + classes * cell + right, top + classes * cell + 16), _PAPER)
    draw = ImageDraw.Draw(canvas)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colors = (_PALE + shares[..., None] * (_DEEP - _PALE)).round().astype(np.uint8)
    canvas.paste(Image.fromarray(colors.repeat(cell, 0).repeat(cell, 1)), (left, top))

    draw.text((left + classes * cell / 2, 10), "predicted", _INK, large, anchor="ma")
    _upright(canvas, "label", (10, top + classes * cell // 2), large, anchor="mm")
    for i, name in enumerate(names if with_names else []):
        middle = i * cell + cell // 2
        draw.text((left - 8, top + middle), name, _INK, small, anchor="rm")
        draw.text((left + classes * cell + 8, top + middle), totals[i], _FAINT, small, anchor="lm")
        if name_width < cell:
            draw.text((left + middle, top - 8), name, _INK, small, anchor="md")
        else:
            _upright(canvas, name, (left + middle, top - 8), small, anchor="lm")
    for i, j in np.argwhere(counts) if with_numbers else ():
        ink = _PAPER if shares[i, j] > 0.5 else _INK
        place = (left + j * cell + cell / 2, top + i * cell + cell / 2)
        draw.text(place, _percent(shares[i, j]), ink, small, anchor="mm")
    return np.asarray(canvas)


def _upright(canvas: Any, text: str, place: tuple[int, int], font: Any, anchor: str) -> None:
    """Write `text` from bottom to top: its start ("l") or middle ("m") at `place`."""
    from PIL import Image, ImageDraw

    width, height = int(font.getlength(text)) + 2, int(font.size * 1.5)
    line = Image.new("L", (width, height))
    ImageDraw.Draw(line).text((1, height / 2), text, 255, font, anchor="lm")
    line = line.rotate(90, expand=True)
    x, y = place[0] - height // 2, place[1] - (width if anchor[0] == "l" else width // 2)
    canvas.paste(_INK, (x, y), line)


def _percent(part: float) -> str:
    text = f"{100 * part:.1f}"
    return "100" if text == "100.0" else text


def _written(name: str, index: int) -> str:
    if not (name.isascii() and name.isprintable() and name):
        return str(index)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 2]}.."


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
