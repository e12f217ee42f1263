"""The sections of a config about what is kept of a run: the checkpoints, and which of them is the best."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional, Union

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from paddle_resume.config.sections import ASIDE, Section, matching


class BestConfig(Section):
    """Which evaluation is the best: its checkpoint is kept, and waiting for a better one may end the run."""

    monitor: Annotated[str, matching(r"valid/.+", "a metric of the validation data, such as valid/acc")] = Field(
        default="valid/acc", description="the metric that decides"
    )
    mode: Literal["auto", "max", "min"] = Field(
        default="auto", description="what is better; auto = less for a loss or an error, else more"
    )
    min_delta: float = Field(default=0.0, ge=0, description="by how much it has to be better")
    patience: Optional[int] = Field(
        default=None, ge=1, description="stop after so many evaluations without a better one; null = never"
    )
    final: Literal["last", "best"] = Field(
        default="last", description="which weights the finished model holds", json_schema_extra=ASIDE
    )


class CheckpointConfig(Section):
    """When to save, and how much to keep."""

    every_epochs: Optional[int] = Field(default=1, ge=1, description="epochs between two checkpoints; null = never")
    every_steps: Union[int, str, None] = Field(
        default=None, description="steps between two checkpoints; auto = as often as the budget allows; null = never"
    )
    every_minutes: Optional[float] = Field(
        default=None, gt=0, description="minutes between two checkpoints; null = never"
    )
    keep: int = Field(default=2, ge=1, description="how many step checkpoints are kept")
    keep_epochs: Optional[int] = Field(
        default=None, ge=1, description="how many epoch checkpoints are kept; null = all"
    )
    on_busy: Literal["wait", "skip"] = Field(
        default="wait", description="what to do when a save is due and the one before is not durable yet"
    )
    budget: float = Field(
        default=0.03, gt=0, lt=1, description="the share of training time that every_steps: auto may spend on saving"
    )
    background: bool = Field(default=True, description="whether a process of its own writes them, behind training")
    memory: Union[int, str] = Field(
        default="auto",
        description="steps between two saves in shared memory, from which a killed run goes on; auto = as often as 1 % "
        "of the time allows; off",
    )
    on_error: Literal["continue", "stop"] = Field(
        default="continue", description="what the training does when a save fails"
    )

    @field_validator("every_steps", mode="before")
    @classmethod
    def _count_auto_or_never(cls, value: Any) -> Any:
        if value is None or value == "auto" or (type(value) is int and value >= 1):
            return value
        raise PydanticCustomError("unexpected", "a whole number of 1 or more, auto, or null")

    @field_validator("memory", mode="before")
    @classmethod
    def _count_auto_or_off(cls, value: Any) -> Any:
        if value is False:  # YAML reads `off` so.
            return "off"
        if value in ("auto", "off") or (type(value) is int and value >= 1):
            return value
        raise PydanticCustomError("unexpected", "a whole number of 1 or more, auto, or off")
