"""Writes the table of hostile files by door into docs/security.md and its Chinese twin; takes a quarter of an hour.

Its argument, if there is one, is a file with the lines that open_hostile.py has printed before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "docs" / "security.md", ROOT / "docs" / "zh" / "security.md")
BEGIN, END = "<!-- hostile files by door: begin -->\n", "<!-- hostile files by door: end -->\n"
CONTROL = "in order"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| door | files | refused | passed over or shown | peak memory, MiB | CPU time, s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for door in dict.fromkeys(row["door"] for row in rows):
        of_door = [row for row in rows if row["door"] == door]
        control = next((row for row in of_door if row["name"] == CONTROL), {"memory": 0, "seconds": 0.0})
        hostile = [row for row in of_door if row["name"] != CONTROL]
        refused = sum(row["how"] == "refused" for row in hostile)
        memory = max(row["memory"] - control["memory"] - row["size"] for row in hostile) / (1 << 20)
        seconds = max(row["seconds"] - control["seconds"] for row in hostile)
        taken = len(hostile) - refused
        lines.append(
            f"| {door} | {len(hostile)} | {refused} | {taken} | {max(memory, 0):.0f} | {max(seconds, 0):.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(given: list[str]) -> None:
    if given:
        text = Path(given[0]).read_text(encoding="utf-8")
    else:
        program = Path(__file__).with_name("open_hostile.py")
        text = subprocess.run([sys.executable, program, "1"], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [json.loads(line) for line in text.splitlines() if line.startswith('{"door"')]
    odd = [row for row in rows if row["how"] not in ("refused", "taken")]
    if odd:
        sys.exit(f"these are neither refused nor taken, so that no table is written: {odd}")
    for page in PAGES:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}{table(rows)}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
