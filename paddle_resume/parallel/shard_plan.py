"""A plan of which parameters are split, checked against the model, the mesh and the processes that are there."""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from paddle_resume.config.mesh import MeshConfig, SplitConfig
from paddle_resume.config.wording import show
from paddle_resume.errors import ConfigError
from paddle_resume.owners.parameter_patterns import matches, parameter_names, require_matches
from paddle_resume.parallel.batch_norm import BATCH_NORMS

MODEL_AXIS = "model"
_WHERE = "parallel."


def check_mesh(mesh: MeshConfig, processes: int) -> None:
    """Raises ConfigError unless the mesh has as many places as there are processes."""
    if mesh.size != processes:
        raise ConfigError(
            f"{_WHERE}mesh: data {mesh.data} x model {mesh.model} is {mesh.size} processes, and there are {processes}. "
            f"Start {mesh.size} with `python -m paddle.distributed.launch --nproc_per_node {mesh.size} ...`, or choose "
            "another mesh."
        )


def resolve_plan(model: paddle.nn.Layer, mesh: MeshConfig, plan: Sequence[SplitConfig]) -> dict[str, int]:
    """The dimension that is split, by Paddle's name of each parameter that the plan splits.

    A tied parameter is matched by any of its structured names; the first entry that matches counts. Raises
    ConfigError for an axis that is not `model`, a pattern that matches nothing or only what an earlier entry has, a
    dimension that the parameter does not have, one that the axis does not divide, and batch norms whose data are split.
    """
    _require_no_batch_norm(model, mesh)
    names = parameter_names(model)
    splits: dict[str, int] = {}
    for index, entry in enumerate(plan):
        where = f"{_WHERE}plan.{index}"
        if entry.axis != MODEL_AXIS:
            raise ConfigError(
                f"{where}.axis is {show(entry.axis)}; expected {MODEL_AXIS}, the axis of the mesh that parameters are "
                "split over (data splits the samples)"
            )
        require_matches(f"{where}.name", [entry.name], names)
        matching = [p for p in model.parameters() if matches(names[p.name], [entry.name])]
        found = [parameter for parameter in matching if parameter.name not in splits]
        if not found:
            raise ConfigError(
                f"{where}.name: {show(entry.name)} matches only parameters that an earlier entry has; the first entry "
                "that matches counts, so put the narrower one first"
            )
        for parameter in found:
            _require_divisible(f"{where}.split", names[parameter.name][0], parameter, entry.split, mesh)
            splits[parameter.name] = entry.split
    return splits


def _require_divisible(where: str, name: str, parameter: paddle.Tensor, dimension: int, mesh: MeshConfig) -> None:
    shape = list(parameter.shape)
    if dimension >= len(shape):
        raise ConfigError(
            f"{where}: {name} has shape {shape} and no dimension {dimension}; expected 0 to {len(shape) - 1}"
        )
    if shape[dimension] % mesh.model:
        raise ConfigError(
            f"{where}: dimension {dimension} of {name}, shape {shape}, is {shape[dimension]}, which the axis "
            f"{MODEL_AXIS} of size {mesh.model} does not divide; split another dimension, leave the parameter out, or "
            f"choose another {_WHERE}mesh.{MODEL_AXIS}"
        )


def _require_no_batch_norm(model: paddle.nn.Layer, mesh: MeshConfig) -> None:
    norms = [name for name, layer in model.named_sublayers(include_self=True) if isinstance(layer, BATCH_NORMS)]
    if norms and mesh.size > 1:
        raise ConfigError(
            f"{_WHERE}mesh: {norms[0] or 'the model'} is a batch norm, whose running statistics a model on a mesh "
            "would not keep the same in all processes; use a LayerNorm or GroupNorm, or train without a mesh"
        )
