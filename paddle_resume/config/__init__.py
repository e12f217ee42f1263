"""The config of a run: read from YAML, checked, compared between runs; never imports Paddle."""

from typing import TYPE_CHECKING

from paddle_resume._lazy import loader

if TYPE_CHECKING:
    from paddle_resume.config.loading import dump_yaml as dump_yaml
    from paddle_resume.config.loading import load_config as load_config
    from paddle_resume.config.optimizer import ScheduleConfig as ScheduleConfig
    from paddle_resume.config.schema import Config as Config
    from paddle_resume.config.sections import Component as Component
    from paddle_resume.config.trajectory import trajectory_differences as trajectory_differences

# Loaded when first used: the trainer needs the section of the mesh alone.
_HOMES = {
    "Component": "sections",
    "Config": "schema",
    "ScheduleConfig": "optimizer",
    "dump_yaml": "loading",
    "load_config": "loading",
    "trajectory_differences": "trajectory",
}
__getattr__ = loader(__name__, _HOMES)
__all__ = [*_HOMES]
