"""Which tensors each of several processes would move by its own share of the data."""

from __future__ import annotations

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume.parallel.batch_norm import per_process_statistics


def test_statistics_and_buffers_are_found_and_what_has_no_memory_is_not() -> None:
    class Net(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.norm = paddle.nn.BatchNorm1D(3)
            self.lstm = paddle.nn.LSTM(3, 4)  # It keeps a buffer that has no values before its first use.
            self.register_buffer("count", paddle.zeros([1]))

    net = Net()
    assert any(not buffer._is_initialized() for buffer in net.buffers())
    found = {id(tensor) for tensor in per_process_statistics(net)}
    assert found == {id(net.count), id(net.norm._mean), id(net.norm._variance)}
