"""Where a rollback goes back to is decided by the schedule alone."""

from __future__ import annotations

from typing import Any

import pytest
from small_run import trainer

from paddle_resume.errors import ConfigError


def test_a_rollback_whose_target_would_hang_on_the_pace_of_the_disk_is_refused_by_name(tmp_path: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r'on_nan="rollback"\) .* SaveSchedule\(on_busy="skip"\) .* Set SaveSchedule\(on_busy="wait"\)',
    ):
        trainer(tmp_path, on_nan="rollback", on_busy="skip", every_steps=2)


@pytest.mark.parametrize(
    "options",
    [
        {"on_nan": "rollback", "on_busy": "wait", "every_steps": 2},
        {"on_nan": "rollback", "on_busy": "skip", "every_steps": "auto"},
        {"on_nan": "stop", "on_busy": "skip", "every_steps": 2},
    ],
)
def test_what_decides_no_target_may_be_left_out(options: dict[str, Any], tmp_path: Any) -> None:
    trainer(tmp_path, **options)
