"""Where the data of a wrapped program stand, as it is noted for a save."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.suites import noting_sampler
from paddle_resume.suites.loader_iterator import loader_iterator


class Noisy(paddle.io.Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array([index + np.random.rand()], "float32")


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_save_waits_until_the_thread_that_makes_the_data_has_come_to_the_next_batch(
    batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without where the generators stood there, the data could not be made again as they were."""
    plain = noting_sampler.plain_fields

    def late(dataset: Any) -> dict[str, Any]:
        time.sleep(0.1)
        return plain(dataset)

    monkeypatch.setattr(noting_sampler, "plain_fields", late)
    iterator = loader_iterator(paddle.io.DataLoader(Noisy(), batch_size=4))
    for _ in range(batches):
        iterator.next_batch()
    iterator.before_save()
    assert iterator.place is not None and iterator.place[1] is not None
    iterator.stop()
