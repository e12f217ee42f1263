"""The mesh of processes that a config asks for, and what cannot be had on one."""

from __future__ import annotations

from typing import Optional

from paddle_resume.config import Config
from paddle_resume.errors import ConfigError
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World


def build_mesh(config: Config, world: World) -> Optional[DeviceMesh]:
    """The mesh of `parallel.mesh`, or None without one.

    Raises ConfigError if it does not fit the processes, or the config has what works only without a mesh.
    """
    parallel, trainer = config.parallel, config.trainer
    if parallel.mesh is None:
        if parallel.plan:
            raise ConfigError("parallel.plan says what is split, and there is no parallel.mesh to split it over.")
        return None
    excluded = {
        "trainer.ema": trainer.ema is not None,
        "trainer.amp": trainer.amp is not None,
        "trainer.on_nan": trainer.on_nan in ("skip", "rollback"),
        "best.final: best": config.best is not None and config.best.final == "best",
        "parallel.sync_batch_norm": parallel.sync_batch_norm,
        "parallel.elastic": parallel.elastic is not None,
    }
    found = [key for key, is_there in excluded.items() if is_there]
    if found:
        raise ConfigError(f"{', '.join(found)} does not work with parallel.mesh yet; leave out one of the two.")
    return DeviceMesh(parallel.mesh, world)
