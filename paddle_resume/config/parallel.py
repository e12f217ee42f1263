"""The config's keys for training with several processes."""

from __future__ import annotations

from typing import Literal, Optional

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from paddle_resume.config.mesh import ModelParallelConfig
from paddle_resume.config.sections import ASIDE


class ParallelConfig(ModelParallelConfig):
    """How the processes that `python -m paddle.distributed.launch` starts train together.

    Without a mesh each has the whole model, and they share the batches.
    """

    timeout: float = Field(
        default=600.0,
        gt=0,
        description="seconds that the processes wait for one that does not come, before the run ends",
        json_schema_extra=ASIDE,
    )
    sync_batch_norm: bool = Field(
        default=False,
        description="whether batch norms take their statistics over all processes (on GPUs); false = each its own",
    )
    elastic: Optional[int] = Field(
        default=None,
        description="shares that every batch is cut into, for the same bits on 1, 2, 4, ... processes; null = not so",
    )
    exchange: Literal["pairs", "halving", "server"] = Field(
        default="pairs",
        description="how elastic processes add up: pairs, halving (for many), or server (rank 0 trains nothing, and "
        "holds weights and optimizer); the bits are the same",
        json_schema_extra=ASIDE,
    )

    @field_validator("elastic")
    @classmethod
    def _power_of_two(cls, value: Optional[int]) -> Optional[int]:
        if value is not None and (value < 1 or value & (value - 1)):
            raise PydanticCustomError("unexpected", "a power of two such as 4, or null")
        return value
