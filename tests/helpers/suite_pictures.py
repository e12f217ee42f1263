"""Tiny data for the suites, drawn from a fixed seed: some dozen pictures with their boxes, masks, classes and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int, int]
"""Its kind, x, y, width and height."""
Scene = tuple[str, int, list[Box]]
"""A picture's name, its side, and what is in it."""
PARTS = {"train": 12, "val": 4}
COLOURS = [(220, 60, 60), (60, 220, 60), (60, 60, 220)]


def make(folder: Path) -> None:
    """Write the data of all suites into a folder."""
    random = np.random.default_rng(7)
    (folder / "characters.txt").write_text("\n".join("0123456789") + "\n")
    for part, count in PARTS.items():
        pictures = folder / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        scenes = [_scene(random, pictures, f"{part}{number}") for number in range(count)]
        (folder / f"{part}_boxes.json").write_text(json.dumps(_annotations(scenes)))
        _lines(folder / f"{part}_masks.txt", [f"pictures/{name}.png pictures/{name}_mask.png" for name, _, _ in scenes])
        _lines(folder / f"{part}_classes.txt", [f"pictures/{name}.png {boxes[0][0]}" for name, _, boxes in scenes])
        words = [_word(random, pictures, f"{part}{number}_word") for number in range(count)]
        _lines(folder / f"{part}_words.txt", [f"pictures/{name}.png\t{word}" for name, word in words])


def _scene(random: np.random.Generator, folder: Path, name: str) -> Scene:
    """A picture with rectangles of one kind each, and its mask."""
    side = int(random.integers(96, 129))
    picture = Image.fromarray(random.integers(20, 120, (side, side, 3), dtype=np.uint8))
    mask = Image.new("L", (side, side))
    boxes = []
    for kind in random.permutation(3)[:2]:
        w, h = (int(each) for each in random.integers(24, 60, 2))
        x, y = int(random.integers(0, side - w)), int(random.integers(0, side - h))
        ImageDraw.Draw(picture).rectangle((x, y, x + w, y + h), COLOURS[kind])
        ImageDraw.Draw(mask).rectangle((x, y, x + w, y + h), int(kind) + 1)
        boxes.append((int(kind), x, y, w, h))
    picture.save(folder / f"{name}.png")
    mask.save(folder / f"{name}_mask.png")
    return name, side, boxes


def _word(random: np.random.Generator, folder: Path, name: str) -> tuple[str, str]:
    word = "".join(str(digit) for digit in random.integers(0, 10, int(random.integers(2, 6))))
    picture = Image.fromarray(random.integers(0, 80, (32, 100, 3), dtype=np.uint8))
    ImageDraw.Draw(picture).text((4, 4), word, (230, 230, 230), font_size=22)
    picture.save(folder / f"{name}.png")
    return name, word


def _annotations(scenes: list[Scene]) -> dict[str, Any]:
    """As COCO writes them."""
    images = [
        {"id": number, "file_name": f"{name}.png", "width": side, "height": side}
        for number, (name, side, _) in enumerate(scenes, 1)
    ]
    boxes = [(number, *box) for number, (_, _, found) in enumerate(scenes, 1) for box in found]
    annotations = [
        {"id": key, "image_id": number, "category_id": kind + 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
        for key, (number, kind, x, y, w, h) in enumerate(boxes, 1)
    ]
    categories = [{"id": kind + 1, "name": str(kind)} for kind in range(len(COLOURS))]
    return {"images": images, "annotations": annotations, "categories": categories}


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")
