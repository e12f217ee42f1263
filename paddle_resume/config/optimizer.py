"""The keys below `optimizer`: the class, its learning rate, and what concerns only some parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional, Union

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from paddle_resume.config.sections import Component, NotEmpty, Section


class WarmupConfig(Section):
    """The updates over which the rate rises to the first one of the schedule."""

    steps: Optional[int] = Field(default=None, ge=1, description="how many updates the warm-up takes")
    epochs: Optional[float] = Field(default=None, gt=0, description="how many epochs it takes, in place of steps")
    start_lr: float = Field(default=0.0, ge=0, description="the rate of the first update")

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> WarmupConfig:
        if (self.steps is None) == (self.epochs is None):
            raise PydanticCustomError("unexpected", "one of steps and epochs, the other null")
        return self


class ScheduleConfig(Component):
    """A schedule of the learning rate, a class of paddle.optimizer.lr, and when it moves."""

    warmup: Optional[WarmupConfig] = Field(default=None, description="a linear warm-up before the schedule begins")
    interval: Literal["step", "epoch"] = Field(
        default="step", description="when the schedule moves: after each update, or at the end of each epoch"
    )
    metric: Optional[NotEmpty] = Field(
        default=None, description="what a ReduceOnPlateau watches; null = valid/loss; for no other schedule"
    )


def _tag_of(value: Any) -> str:
    """Whether a value is one number or a mapping with a name, so that an error speaks of what was meant."""
    return "<mapping" if isinstance(value, (dict, Component)) else "<number"


def _at_least_one(patterns: list[str]) -> list[str]:
    if not patterns:
        raise PydanticCustomError("unexpected", "at least one pattern of parameter names, such as 'features.*'")
    return patterns


Patterns = Annotated[list[NotEmpty], AfterValidator(_at_least_one)]


class ParameterGroupConfig(Section):
    """Parameters by patterns of their names, and what is different for them."""

    match: Patterns = Field(description="patterns of parameter names, such as features.*")
    lr_scale: Optional[float] = Field(
        default=None, ge=0, description="what the learning rate is multiplied by; null = 1"
    )
    weight_decay: Optional[
        Annotated[
            Union[
                Annotated[float, Field(ge=0), Tag("<number")],
                Annotated[Component, Tag("<mapping")],
            ],
            Discriminator(_tag_of),
        ]
    ] = Field(default=None, description="the weight decay, a number or {name, coeff}; null = the optimizer's")


class RegularizerConfig(Component):
    """A regularizer of paddle.regularizer for parameters by patterns of their names."""

    match: Patterns = Field(description="patterns of parameter names, such as *.weight")


class OptimizerConfig(Component):
    """The optimizer, a class of paddle.optimizer, its learning rate, and what concerns only some parameters."""

    name: NotEmpty = Field(default="Adam", description="a class of paddle.optimizer, or an import path")
    lr: Annotated[
        Union[
            Annotated[float, Field(gt=0), Tag("<number")],
            Annotated[ScheduleConfig, Tag("<mapping")],
        ],
        Discriminator(_tag_of),
    ] = Field(default=0.001, description="the learning rate, or a mapping: the name of a schedule and its arguments")
    clip: Optional[Component] = Field(
        default=None, description="how gradients are clipped: a class of paddle.nn and its arguments; null = not"
    )
    no_weight_decay: list[NotEmpty] = Field(
        default=[], description="patterns of the names of parameters without weight decay"
    )
    groups: list[ParameterGroupConfig] = Field(
        default=[], description="parameter groups; the first that matches counts"
    )
    regularization: list[RegularizerConfig] = Field(
        default=[], description="regularizers for some parameters; the first that matches counts"
    )
