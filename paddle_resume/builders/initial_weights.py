"""A fresh start from somebody's weights: what of them fits, what was loaded, and when they are not used."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np
from rich.table import Table
from rich.text import Text

from paddle_resume.checkpoint.weights import fingerprint, read_weights
from paddle_resume.errors import CheckpointError
from paddle_resume.owners.model import load_matching, load_weights, match_weights
from paddle_resume.training.trainer import Trainer
from paddle_resume.translations.console import Console

_TABLE_ROWS = 30


def prepare_weights(
    trainer: Trainer, resume: str, weights: Optional[str], partial: bool, *, quiet: bool = False
) -> None:
    """Load the weights if this is a fresh start, else say in one line why they are not used."""
    found = [] if resume == "none" else trainer.checkpoints
    if resume in ("auto", "none") and not found:
        if weights is not None:
            _start_from(trainer, weights, partial, quiet)
        return
    started = next((f.record.lineage[0] for f in found if f.record and f.record.lineage), {})
    origin = f"{started['weights']} ({started['weights_digest']})" if "weights" in started else "no weights file"
    if weights is not None:
        _say(f"--weights {weights} is not used: the run goes on from its checkpoint, and started from {origin}.")
    elif "weights" in started and not quiet:
        _say(f"This run started from {origin}; its checkpoint holds what has become of them.")


def _start_from(trainer: Trainer, weights: str, partial: bool, quiet: bool) -> None:
    path, arrays = read_weights(weights)
    model = trainer.model
    matches = match_weights(model, arrays)
    if not partial:
        load_weights(model, arrays, source=str(path), hint=" Or load what does fit with --weights-partial.")
    elif any(problem == "" for problem in matches.values()):
        load_matching(model, arrays)
    else:
        raise CheckpointError(f"Nothing in {path} fits the model {type(model).__name__} by name, shape and dtype.")
    trainer.lineage.note_start(weights=str(path), weights_digest=fingerprint(arrays))
    if not quiet:
        _show_weights(path, arrays, matches)


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def _show_weights(path: Path, arrays: dict[str, np.ndarray], matches: dict[str, str]) -> None:
    """A table of what was loaded and what was not, those first; plain lines in a pipe."""
    loaded = sum(problem == "" for problem in matches.values())
    _say(f"{'Weights:':<13}{path}, {loaded} of {len(matches)} loaded")
    table = Table("name", "shape", "result", box=None, pad_edge=False)
    rows = sorted(matches, key=lambda name: matches[name] == "")
    for name in rows[:_TABLE_ROWS]:
        shape = str(list(arrays[name].shape)) if name in arrays else ""
        table.add_row(Text(name), Text(shape), Text(matches[name] or "loaded"))
    # A pipe has no width that a line should be broken at.
    width = None if Console().is_terminal else 200
    Console(highlight=False, width=width).print(table)
    if len(rows) > _TABLE_ROWS:
        _say(f"and {len(rows) - _TABLE_ROWS} more")
