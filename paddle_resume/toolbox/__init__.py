"""The toolbox for checkpoints: one file a command, pure functions that return data, and one place that prints."""

from paddle_resume.checkpoint.merge_shards import merge_shards
from paddle_resume.toolbox.average import average
from paddle_resume.toolbox.checkpoint_source import open_checkpoint
from paddle_resume.toolbox.diff import compare
from paddle_resume.toolbox.listing import list_checkpoints
from paddle_resume.toolbox.prune import prune
from paddle_resume.toolbox.salvage import salvage
from paddle_resume.toolbox.show import describe
from paddle_resume.toolbox.strip import strip
from paddle_resume.toolbox.verify import verify

__all__ = [
    "average",
    "compare",
    "describe",
    "list_checkpoints",
    "merge_shards",
    "open_checkpoint",
    "prune",
    "salvage",
    "strip",
    "verify",
]
