"""The owners of what Paddle itself does not hand over whole: model, optimizer and LR scheduler."""

from paddle_resume.owners.model import ModelState, ParameterNames
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.scheduler import SchedulerState

__all__ = ["ModelState", "OptimizerState", "ParameterNames", "SchedulerState"]
