"""Draws docs/rooms.svg from the code: the rooms of the package in the layers of .importlinter, and who imports whom.

    python tools/draw_rooms.py [--check]

Needs Python 3.11 and import-linter, whose library reads the imports; nothing of the package is run.
"""

from __future__ import annotations

import ast
import configparser
import sys
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "paddle_resume"
PICTURE = ROOT / "docs" / "rooms.svg"
# Short layers stand aside by turns, so that few arrows pass behind a room that they do not mean.
_ASIDE = (-100, 0, 100, 200, 0)
# Of the whole picture, of a room, and from one layer to the next.
_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _LAYER_HEIGHT, _MARGIN = 1180, 122, 34, 76, 20
_STYLE = """
svg { background: #fff; font: 14px ui-sans-serif, system-ui, sans-serif; }
rect { fill: #eef3fb; stroke: #3d6db5; }
text { text-anchor: middle; fill: #16325c; }
.layer { stroke: #dde3ec; }
.arrow { fill: none; stroke: #7d93b3; stroke-width: 1.2; marker-end: url(#tip); }
.note { text-anchor: start; fill: #5b6b82; font-size: 12px; }
"""


def layers() -> list[list[str]]:
    """The rooms of each line of the contract, the highest first."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    lines = contracts["importlinter:contract:rooms"]["layers"].split("\n")
    return [[room.strip() for room in line.split("|")] for line in lines if line.strip()]


def imports() -> dict[str, set[str]]:
    """The rooms that each room imports from, in a function or for a type only as well."""
    sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules - {PACKAGE}:
        imported = (other.split(".") for other in graph.find_modules_directly_imported_by(module))
        room = module.split(".")[1]
        found.setdefault(room, set()).update(path[1] for path in imported if len(path) > 1 and path[1] != room)
    return found


def direct_only(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Those that follow from no longer way; there is no circle."""
    reached: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reached:
            reached[room] = arrows[room].union(*(below(other) for other in arrows[room]))
        return reached[room]

    return {room: {to for to in tos if not any(to in below(other) for other in tos)} for room, tos in arrows.items()}


def draw() -> str:
    """The picture as SVG; the same for the same code."""
    rows, arrows = layers(), imports()
    shown = direct_only(arrows)
    places = {room: _place(level, row, room) for level, row in enumerate(rows) for room in row}
    height = _MARGIN + len(rows) * _LAYER_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#7d93b3"/></marker></defs>',
    ]
    for level in range(1, len(rows)):
        y = _MARGIN + level * _LAYER_HEIGHT - (_LAYER_HEIGHT - _BOX_HEIGHT) // 2
        parts.append(f'<line class="layer" x1="0" y1="{y}" x2="{_WIDTH}" y2="{y}"/>')
    parts += [_arrow(places[room], places[to]) for room in places for to in sorted(shown[room])]
    parts += [_box(room, places[room], arrows[room]) for room in places]
    count = sum(len(tos) for tos in arrows.values())
    drawn = sum(len(tos) for tos in shown.values())
    note = f"{len(places)} rooms, {count} arrows; the {count - drawn} that follow from others are left out"
    parts += [f'<text class="note" x="8" y="{height - 10}">{note}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def _place(level: int, row: list[str], room: str) -> tuple[float, float]:
    """The middle of the upper edge of its box."""
    x = (2 * row.index(room) + 1) * _WIDTH / (2 * len(row))
    return x + (_ASIDE[level % len(_ASIDE)] if len(row) < 4 else 0), _MARGIN + level * _LAYER_HEIGHT


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (start[0], start[1] + _BOX_HEIGHT), end
    middle = (y1 + y2) / 2
    points = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"
    return f'<path class="arrow" d="{points}"/>'


def _box(room: str, place: tuple[float, float], imported: set[str]) -> str:
    x, y = place
    tip = f"{purpose(room)}\nimports: {', '.join(sorted(imported)) or 'no other room'}"
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<rect x="{x - _BOX_WIDTH / 2:.0f}" y="{y:.0f}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x:.0f}" y="{y + 22:.0f}">{room}</text></g>'
    )


def purpose(room: str) -> str:
    """What the room's docstring says of it."""
    path = ROOT / PACKAGE / room
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n")[0]


if __name__ == "__main__":
    picture = draw()
    if "--check" not in sys.argv:
        PICTURE.write_text(picture, encoding="utf-8")
    elif picture != PICTURE.read_text(encoding="utf-8"):
        sys.exit("docs/rooms.svg is not what the code says: run python tools/draw_rooms.py, and look at what changed")
