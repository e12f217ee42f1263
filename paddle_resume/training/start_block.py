"""What a run tells of itself when it starts, where it was put together in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.environment import Environment
from paddle_resume.loggers import Logger
from paddle_resume.parallel.world import World
from paddle_resume.storage.durable_files import format_bytes


def start_facts(
    model: paddle.nn.Layer,
    feeds: Mapping[str, Feed],
    run: str,
    loggers: Sequence[Logger],
    world: World,
    shares: Optional[int] = None,
    has_server: bool = False,
) -> list[tuple[str, str]]:
    """(label, text) lines: environment, data by split, processes, the model's size, and where the files go."""
    return [
        ("Environment", Environment().summary()),
        ("Data", ", ".join(f"{split} {_told(feed)}" for split, feed in feeds.items())),
        *processes_fact(world, feeds["train"].batch_size, shares, has_server),
        ("Model", f"{type(model).__name__}, {model_size(model)}"),
        ("Run", f"{run}{_logs(loggers)}"),
    ]


def model_size(model: paddle.nn.Layer) -> str:
    """How many parameters it has, and how much memory they take."""
    parameters = list(model.parameters())
    weight = format_bytes(sum(p.size * p.element_size() for p in parameters))
    return f"{sum(p.size for p in parameters):,} parameters ({weight})"


def processes_fact(
    world: World, batch_size: int, shares: Optional[int] = None, has_server: bool = False
) -> list[tuple[str, str]]:
    """How several processes, or the `shares` of an elastic run, share each batch; nothing for a single one."""
    parts = world.size if shares is None else shares
    each = f"{'' if batch_size % parts == 0 else 'at most '}{-(-batch_size // parts)} samples"
    if shares is not None:
        processes = "1 process" if world.is_single else f"{world.size} processes"
        processes += ", of which rank 0 is the parameter server" * has_server
        one_thread = "one math thread in each, since threads are part of the bits"
        return [("Elastic", f"{shares} shares of {each}, {processes}; {one_thread}")]
    if world.is_single:
        return []
    return [("Processes", f"{world.size}, which share each batch of {batch_size}: {each} each")]


def _told(feed: Feed) -> str:
    dataset = feed.dataset
    while isinstance(dataset, paddle.io.Subset):
        dataset = dataset.dataset
    name = type(dataset).__name__
    return f"{name} (a stream)" if feed.is_stream else f"{len(feed.dataset):,} ({name})"


def _logs(loggers: Sequence[Logger]) -> str:
    folders = dict.fromkeys(str(logger.path.parent) for logger in loggers)
    return f", logs in {', '.join(folders)}" if folders else ""
