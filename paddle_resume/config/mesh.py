"""The config's keys for a model whose parameters are split over processes: the mesh, and what is split how."""

from __future__ import annotations

from typing import Optional

from pydantic import Field

from paddle_resume.config.sections import NotEmpty, Section


class MeshConfig(Section):
    """The processes as a grid of `data` rows and `model` columns; rank r stands in row r // model."""

    data: int = Field(default=1, ge=1, description="into how many shares the samples of a batch are split")
    model: int = Field(default=1, ge=1, description="over how many processes each split parameter is divided")

    @property
    def size(self) -> int:
        """How many processes the mesh has."""
        return self.data * self.model

    def __str__(self) -> str:
        return f"data {self.data} x model {self.model}"


class SplitConfig(Section):
    """Parameters that are split evenly over the processes along one axis of the mesh."""

    name: NotEmpty = Field(description="a glob on whole structured names, such as '*.linear1.weight'")
    axis: NotEmpty = Field(default="model", description="the axis of the mesh; only model splits parameters")
    split: int = Field(ge=0, description="the dimension of the parameter that is split, from 0")


class ModelParallelConfig(Section):
    """How one model is spread over the processes; parameters that no entry of the plan matches are on all of them."""

    mesh: Optional[MeshConfig] = Field(
        default=None, description="how many processes share the data, and how many the model; null = no mesh"
    )
    plan: list[SplitConfig] = Field(
        default=[], description="which parameters are split; the first entry that matches counts"
    )
