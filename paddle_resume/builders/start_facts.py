"""The first lines of a run that a config describes: what it runs on, its data, its model, and where its files go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from paddle_resume.builders.data import DataSplits
from paddle_resume.builders.model import model_arguments
from paddle_resume.config import Config
from paddle_resume.environment import Environment
from paddle_resume.parallel.exchange import SERVER
from paddle_resume.parallel.world import World
from paddle_resume.training.start_block import model_size, processes_fact


def start_facts(
    config: Config, data: DataSplits, model: paddle.nn.Layer, described: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The first lines of a run, as (label, text)."""
    lengths = {"train": data.train, "valid": data.valid, "test": data.test}
    sizes = ", ".join(
        f"{name} {len(part):,}"
        for name, part in lengths.items()
        if part is not None and not isinstance(part, paddle.io.IterableDataset)
    )
    arguments = model_arguments(config, described)
    found = ", ".join(f"{name} {arguments[name]}" for name, value in config.model.args.items() if value == "auto")
    return [
        ("Environment", Environment().summary()),
        ("Data", f"{data.source}{'; ' + sizes if sizes else ''}"),
        *[("Note", note) for note in data.notes],
        *(
            processes_fact(
                World.current(),
                config.data.global_batch_size,
                config.parallel.elastic,
                config.parallel.exchange == SERVER,
            )
            if config.parallel.mesh is None
            else [("Processes", f"{World.current().size}, as a mesh: {config.parallel.mesh}")]
        ),
        ("Model", f"{config.model.name}, {model_size(model)}{f'; {found}' if found else ''}"),
        (
            "Run",
            f"{config.run.name} in {config.run.save_dir}, logs in {config.run.log_dir}/{config.run.name}",
        ),
    ]
