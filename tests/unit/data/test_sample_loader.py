"""Samples from worker processes: one that is killed is told of in one sentence."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError


class Deadly(paddle.io.Dataset):
    """The worker that loads sample 20 dies of it, by a signal or by an exit status."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __getitem__(self, index: int) -> np.ndarray:
        if index == 20 and self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 20:
            os._exit(7)
        return np.array([index])

    def __len__(self) -> int:
        return 40


@pytest.mark.parametrize(
    ("how", "told"),
    [("killed", "was killed by signal 9"), pytest.param("ended", "ended with status 7", marks=pytest.mark.full)],
)
def test_a_data_worker_that_is_gone_is_told_of_in_one_sentence(how: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"A data worker \(pid \d+\) {told}: perhaps .* Run the same command again"):
        list(Feed(Deadly(how), batch_size=4, num_workers=2, shuffle=False).remaining())
