"""What a person or a program is told of a conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

from rich.table import Table
from rich.text import Text

from paddle_resume.convert.conversion import Conversion
from paddle_resume.convert.weight_sources import Source
from paddle_resume.storage.durable_files import format_bytes
from paddle_resume.translations import labelled
from paddle_resume.translations.console import Console

_ROWS = 100
_WIDE = 10_000  # A pipe has no width that a line should be broken at.


def print_report(source: Source, conversion: Conversion, model: str) -> None:
    """A table with a line for each entry, what does not fit first; plain columns in a pipe."""
    terminal = Console().is_terminal
    console = Console(highlight=False, width=None if terminal else _WIDE, soft_wrap=not terminal)
    where = f", {source.key}" if source.key else ""
    said = [("Source", f"{source.path}{where} ({len(source.arrays)} tensors, layout of {source.layout})")]
    if model:
        counts = conversion.counts()
        said.append(
            (
                "Model",
                f"{model}: {counts['filled']} names filled, {counts['transposed']} transposed, "
                f"{counts['left_out']} entries left out, {counts['problems']} problems",
            )
        )
    for label, text in said:
        console.print(labelled(label, text), markup=False, soft_wrap=True)
    rows = sorted(conversion.rows, key=lambda row: row.good)
    if rows:
        table = Table("in the file", "shape", "in the model", "result", box=None, pad_edge=False)
        for row in rows[:_ROWS]:
            shape = "" if row.shape is None else str(list(row.shape))
            style = "" if row.good else "red"
            table.add_row(Text(row.name), Text(shape), Text(row.target), Text(row.result, style=style))
        console.print(table)
    if len(rows) > _ROWS:
        console.print(f"and {len(rows) - _ROWS:,} more; --json lists all", markup=False)
    for pattern in conversion.unused:
        text = f"{pattern} of the name map matches no name in the file"
        console.print(labelled("Not used", text), markup=False)


def to_json(source: Source, conversion: Conversion, model: str, output: Optional[Path]) -> str:
    """One object: source, counts, every row, and the file that was written, if one was."""
    rows: list[dict[str, Any]] = [
        {
            "name": row.name or None,
            "shape": None if row.shape is None else list(row.shape),
            "target": row.target or None,
            "result": row.result,
            "good": row.good,
        }
        for row in conversion.rows
    ]
    content = {
        "source": str(source.path),
        "key": source.key or None,
        "layout": source.layout,
        "metadata": dict(source.metadata),
        "tensors": len(source.arrays),
        "model": model or None,
        "counts": conversion.counts(),
        "rows": rows,
        "unused_patterns": conversion.unused,
        "output": None if output is None else str(output),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def print_written(output: Path, tensors: int, size: int, forgotten: list[str]) -> None:
    """The last line: what was written, and what of the source has no place in it."""
    print(labelled("Wrote", f"{output} ({tensors} tensors, {format_bytes(size)})"))
    if forgotten:
        print(labelled("Not kept", f"metadata {', '.join(forgotten)}, for which a .pdparams has no place"))
