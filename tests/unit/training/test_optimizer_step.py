"""What one update is made of: sparse gradients too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_run import Points, trainer

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle


class Words(paddle.nn.Layer):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table, self.last = paddle.nn.Embedding(9, 4, sparse=sparse), paddle.nn.Linear(32, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        scale = paddle.where(paddle.isnan(x), x, paddle.ones_like(x))
        rows = self.table((paddle.nan_to_num(x) * 8).astype("int64"))
        return self.last((rows * scale.unsqueeze(-1)).flatten(1))


@pytest.mark.parametrize("sparse", [True, False])
def test_a_bad_update_is_left_out_also_where_gradients_are_sparse(sparse: bool, tmp_path: Any) -> None:
    made = trainer(tmp_path, model=lambda: Words(sparse), on_nan="skip")
    points = Points()
    points.x[13] = np.nan
    made.train(points, epochs=1, global_batch_size=8, shuffle=False)
    assert "Skipped the update of step 1" in "".join(made.told)
    assert all(np.isfinite(each.numpy()).all() for each in made.model.parameters())
    assert made._parts.divergence.skipped == 1
