"""What an elastic run needs before anything of it is built."""

from __future__ import annotations

from paddle_resume.config import Config
from paddle_resume.environment import pin_math_threads
from paddle_resume.errors import ConfigError
from paddle_resume.parallel.shares import Shares
from paddle_resume.parallel.world import World


def prepare_elastic(config: Config, world: World) -> None:
    """Pin the math threads of an elastic run, on which also the weights depend that its model begins with.

    Raises ConfigError for a number of processes that does not fit, and for what the config has beside it and cannot.
    """
    if Shares.of(config.parallel.elastic, world, config.parallel.exchange) is None:
        return
    if config.parallel.sync_batch_norm:
        raise ConfigError(
            "parallel.sync_batch_norm takes statistics over all processes, and with parallel.elastic each share of a "
            "batch has its own, whose mean is kept: set it to false."
        )
    pin_math_threads()
