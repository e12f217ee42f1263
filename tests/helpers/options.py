"""A trainer's options by their bare names, put into the groups that it takes them in."""

from dataclasses import fields
from typing import Any

from paddle_resume import Monitoring, Processes, SaveSchedule, StepOptions

GROUPS = {"step": StepOptions, "monitoring": Monitoring, "schedule": SaveSchedule, "processes": Processes}


def grouped(**options: Any) -> dict[str, Any]:
    """`Trainer(**grouped(accumulate_steps=2, name="small"))`."""
    for group, kind in GROUPS.items():
        names = {field.name for field in fields(kind)} & set(options)
        if names:
            options[group] = kind(**{name: options.pop(name) for name in names})
    return options
