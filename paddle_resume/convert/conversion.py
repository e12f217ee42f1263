"""Which entry of a file goes to which parameter of a model, what is done to it on the way, and what does not fit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from paddle import nn

from paddle_resume.checkpoint.reader import Arrays
from paddle_resume.convert.layer_mappings import identity_mappings, is_counter, shared_names, torch_mappings
from paddle_resume.convert.name_map import NameMap, without_wrappers
from paddle_resume.convert.weight_sources import Source
from paddle_resume.errors import CheckpointError
from paddle_resume.owners.tensor_views import view

_BFLOAT16 = np.dtype("uint16")
_LISTED = 5
_HINT = "Say in a name map (--map) what a name in the file is called in the model, or null to leave it out."


@dataclass(frozen=True)
class Row:
    """One entry of the file on its way to one name in the model."""

    name: str
    """In the file; empty for what the file lacks."""
    target: str
    """In the model; empty for what the model does not take."""
    shape: Optional[tuple[int, ...]]
    """In the file."""
    result: str
    """What was done, such as `transposed`, or what is wrong."""
    good: bool


@dataclass(frozen=True)
class Conversion:
    """The arrays that fit a model, by its structured names and in their order, and how each came about."""

    arrays: Arrays
    rows: list[Row] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    """Patterns of the name map that no name has matched."""
    hint: str = ""
    """What would help with the problems, if that can be seen."""

    @property
    def problems(self) -> list[Row]:
        return [row for row in self.rows if not row.good]

    def counts(self) -> dict[str, int]:
        """How many names of the model were filled, how many of them transposed; what was left out; the problems."""
        good = [row for row in self.rows if row.good]
        return {
            "filled": len(self.arrays),
            "transposed": sum("transposed" in row.result.split(", ") for row in good),
            "left_out": sum(not row.target for row in good),
            "problems": len(self.problems),
        }

    def check(self, source: Source, model: str) -> None:
        """Raise CheckpointError naming what does not fit, is missing or left over."""
        problems = self.problems
        if not problems and not self.arrays:
            raise CheckpointError(f"{source.path} holds no tensors. Use another file.")
        if not problems:
            return
        shown = [f"{row.name or row.target}: {row.result}" for row in problems[:_LISTED]]
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise CheckpointError(
            f"{source.path} does not fit the model {model}: {'; '.join(shown)}{more}. {self.hint or _HINT} "
            "Or write what does fit with --partial."
        )


def convert_weights(model: nn.Layer, source: Source, names: Optional[NameMap] = None) -> Conversion:
    """Fit the weights of `source` to `model`, which is not changed.

    Names go through `names`, after a prefix of torch's wrappers (`module.`) was taken off; then the rules of
    `convert.layer_mappings` say how each is laid out. Values are kept bit for bit; a type is only changed to a wider
    one. Nothing is raised for what does not fit: `Conversion.check` does that.
    """
    names = names or NameMap()
    live = model.state_dict()
    mappings = torch_mappings(model) if source.layout == "torch" else identity_mappings(model)
    prefix = without_wrappers((name for name in source.arrays if not is_counter(name)), live)
    found: dict[str, tuple[str, np.ndarray]] = {}
    rows: list[Row] = []
    left: list[str] = []
    for name, array in source.arrays.items():
        named = names.apply(name[len(prefix) :] if name.startswith(prefix) else name)
        if named.to is None or (named.to not in mappings and is_counter(named.to)):
            result = "left out by the name map" if named.to is None else "left out: only torch counts this"
            rows.append(Row(name, "", array.shape, result, True))
            continue
        if named.to not in mappings:
            left.append(named.to)
            rows.append(Row(name, "", array.shape, _unknown(name, named.to), False))
        for mapping in mappings.get(named.to, ()):
            values, done = mapping.apply(array, named.transpose)
            values, problem = _fitted(values, tuple(live[mapping.target].shape), view(live[mapping.target]).dtype)
            if mapping.target in found:
                problem = f"{found[mapping.target][0]} goes to {mapping.target} too"
            if not problem:
                done += [] if values.dtype == array.dtype else [f"{_type(array.dtype)} to {_type(values.dtype)}"]
                found[mapping.target] = (name, values)
            rows.append(Row(name, mapping.target, array.shape, problem or ", ".join(done) or "as it is", not problem))
    failed = {row.target for row in rows if not row.good}
    rows += _missing(model, found, failed)
    arrays = {name: found[name][1] for name in live if name in found}
    return Conversion(arrays, rows, names.unused(), _prefix_hint(left, mappings))


def _missing(model: nn.Layer, found: dict[str, tuple[str, np.ndarray]], failed: set[str]) -> list[Row]:
    """Rows for what no entry went to; a tensor that has several names needs only one, which is added to `found`."""
    rows = []
    shared = shared_names(model)
    for name in model.state_dict():
        twin = next((other for other in shared.get(name, ()) if other in found), None)
        if twin is not None and found[twin][1].tobytes() != found.get(name, found[twin])[1].tobytes():
            rows.append(
                Row(found[name][0], name, found[name][1].shape, f"not the same as {twin}, whose tensor it is", False)
            )
        elif name in found or name in failed:
            continue
        elif twin is None:
            rows.append(Row("", name, None, "missing in the file", False))
        else:
            found[name] = found[twin]
            rows.append(Row(found[twin][0], name, found[twin][1].shape, f"shared with {twin}", True))
    return rows


def _fitted(values: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, str]:
    """The values in the type of the model, and why they do not fit it, if so."""
    if values.shape != shape:
        turned = (
            " (the other way round it fits; a name map can say transpose: true or false)"
            if values.shape[::-1] == shape
            else ""
        )
        return values, f"has the shape {list(values.shape)}, and the model {list(shape)}{turned}"
    if values.dtype == dtype:
        return values, ""
    if values.dtype == _BFLOAT16 and dtype in (np.float32, np.float64):
        # The upper half of a float32: widened by its bits, NaNs stay what they were.
        return (values.astype(np.uint32) << 16).view(np.float32).astype(dtype), ""
    widens = np.can_cast(values.dtype, dtype, "safe") and _BFLOAT16 not in (values.dtype, dtype)
    if widens and (values.dtype.kind == dtype.kind or values.dtype.kind + dtype.kind == "ui"):
        return values.astype(dtype), ""
    return values, (
        f"is {_type(values.dtype)}, and the model {_type(dtype)}, which does not hold all of it; convert it in torch "
        "before, such as with tensor.float()"
    )


def _type(dtype: np.dtype) -> str:
    return "bfloat16" if dtype == _BFLOAT16 else str(dtype)


def _prefix_hint(left: list[str], mappings: Collection[str]) -> str:
    """Advice for names that the model knows but for their first part, such as the `model.` of Lightning."""
    start = left[0].partition(".")[0] + "." if left else ""
    if any(name.startswith(start) and name[len(start) :] in mappings for name in left):
        return f'A name map (--map) with the line "{start}*": "*" takes {start} off.'
    return ""


def _unknown(name: str, mapped: str) -> str:
    return "left over: the model has no such name" + ("" if mapped == name else f" as {mapped}")
