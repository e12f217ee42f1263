"""The config of a run: read from YAML, checked, compared between runs; never imports Paddle."""

from paddle_resume.config.loading import dump_yaml, load_config
from paddle_resume.config.optimizer import ScheduleConfig
from paddle_resume.config.schema import Config
from paddle_resume.config.sections import Component
from paddle_resume.config.trajectory import trajectory_differences

__all__ = ["Component", "Config", "ScheduleConfig", "dump_yaml", "load_config", "trajectory_differences"]
