"""The `.pdparams` and `.pdopt` that other programs saved, read as arrays by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from paddle_resume.checkpoint.reader import Arrays, sibling
from paddle_resume.checkpoint.weights import NAME_TABLE, as_array, joined, named_arrays
from paddle_resume.errors import CheckpointError
from paddle_resume.storage.restricted_pickle import read_foreign

PARAMETERS, OPTIMIZER = ".pdparams", ".pdopt"
MASTER, SCHEDULER = "master_weights", "LR_Scheduler"


def foreign_weights(prefix: Path) -> tuple[Arrays, Optional[dict[str, str]]]:
    """The weights by structured name, and the file's table structured name -> parameter name, if it has one."""
    path = sibling(prefix, PARAMETERS)
    content = read_foreign(path)
    table = content.get(NAME_TABLE) if isinstance(content, dict) else None
    if table is not None and not (isinstance(table, dict) and all(isinstance(v, str) for v in table.values())):
        raise CheckpointError(f"{path} is damaged: its table of parameter names holds something else.")
    weights = named_arrays(path, content)
    return weights, {k: v for k, v in table.items() if k in weights} if table else None


def optimizer_entries(path: Path) -> dict[str, Any]:
    """The entries of a `.pdopt` by name, master weights as `master_weights/<parameter>`."""
    content = read_foreign(path)
    if isinstance(content, list) and len(content) == 1:
        content = content[0]  # PaddleClas writes a list of the states of its optimizers.
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds something else than a dict of optimizer state by name.")
    content.pop(NAME_TABLE, None)
    masters = content.pop(MASTER, {})
    if not isinstance(masters, dict):
        raise CheckpointError(f"{path} holds {MASTER} that are no dict of arrays.")
    flat = {**content, **{f"{MASTER}/{name}": value for name, value in masters.items()}}
    return joined(path, {name: value if name == SCHEDULER else as_array(value) for name, value in flat.items()})
