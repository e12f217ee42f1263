"""`show`: one checkpoint looked at from inside: what its record says, and each tensor with its norm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from paddle_resume.toolbox.array_figures import count_non_finite, norm, type_name
from paddle_resume.toolbox.byte_progress import Advance, unheard
from paddle_resume.toolbox.checkpoint_source import Opened
from paddle_resume.toolbox.listing import metrics_of


@dataclass(frozen=True)
class ShownTensor:
    """A tensor of the file with suffix `file`; norm and `non_finite` are None if its values were not read."""

    file: str
    name: str
    shape: list[int]
    dtype: str
    size: int
    norm: Optional[float] = None
    non_finite: Optional[int] = None


@dataclass(frozen=True)
class Shown:
    """A checkpoint's facts; without a record, only its tensors."""

    name: str
    step: Optional[int] = None
    epoch: Optional[int] = None
    phase: Optional[str] = None
    saved_at: Optional[str] = None
    sequence: Optional[int] = None
    package: Optional[str] = None
    exact: Optional[bool] = None
    metrics: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    tensors: list[ShownTensor] = field(default_factory=list)

    def parameters(self, file: str) -> int:
        """How many numbers the tensors of that file hold."""
        count = 0
        for tensor in self.tensors:
            extent = 1
            for each in tensor.shape:
                extent *= each
            count += extent if tensor.file == file else 0
        return count


def _mapping(state: Any) -> dict[str, Any]:
    return state if isinstance(state, dict) else {}


def describe(opened: Opened, *, values: bool = True, advance: Advance = unheard) -> Shown:
    """Look into a checkpoint; each tensor is read once and verified, one at a time, unless `values` is off.

    Raises CheckpointError at the first damaged tensor.
    """
    tensors = []
    for suffix, file in opened.files.items():
        for name, tensor in file.tensors.items():
            shown = ShownTensor(suffix, name, list(tensor.shape), type_name(tensor.dtype), tensor.size)
            if values:
                array = file.read(name)
                shown = ShownTensor(**{**vars(shown), "norm": norm(array), "non_finite": count_non_finite(array)})
                advance(tensor.size)
            tensors.append(shown)
    record = opened.record
    if record is None:
        return Shown(opened.label, tensors=tensors)
    return Shown(
        name=str(opened.prefix),
        step=record.step,
        epoch=record.epoch,
        phase=record.phase,
        saved_at=record.saved_at,
        sequence=record.sequence,
        package=record.package,
        exact=record.exact,
        metrics=metrics_of(record),
        environment=_mapping(record.owners.get("environment")),
        config=_mapping(record.owners.get("config")),
        lineage=record.lineage,
        owners=list(record.owners),
        tensors=tensors,
    )
