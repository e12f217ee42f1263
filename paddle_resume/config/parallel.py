"""The config's keys for training with several processes."""

from __future__ import annotations

from pydantic import Field

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
