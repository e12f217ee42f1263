"""The toolbox for checkpoints: one file a command, pure functions that return data, and one place that prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paddle_resume._lazy import loader

if TYPE_CHECKING:
    from paddle_resume.checkpoint.merge_shards import merge_shards as merge_shards
    from paddle_resume.toolbox.averaging import average as average
    from paddle_resume.toolbox.checkpoint_source import open_checkpoint as open_checkpoint
    from paddle_resume.toolbox.diff import compare as compare
    from paddle_resume.toolbox.listing import list_checkpoints as list_checkpoints
    from paddle_resume.toolbox.pruning import prune as prune
    from paddle_resume.toolbox.salvaging import salvage as salvage
    from paddle_resume.toolbox.show import describe as describe
    from paddle_resume.toolbox.stripping import strip as strip
    from paddle_resume.toolbox.verification import verify as verify

# Loaded when first used: most commands use one of them, and some bring NumPy.
_HOMES = {
    "average": "toolbox.averaging",
    "compare": "toolbox.diff",
    "describe": "toolbox.show",
    "list_checkpoints": "toolbox.listing",
    "merge_shards": "checkpoint.merge_shards",
    "open_checkpoint": "toolbox.checkpoint_source",
    "prune": "toolbox.pruning",
    "salvage": "toolbox.salvaging",
    "strip": "toolbox.stripping",
    "verify": "toolbox.verification",
}
__all__ = [*_HOMES]
__getattr__ = loader("paddle_resume", _HOMES)
