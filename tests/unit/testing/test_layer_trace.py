"""What is noted of one step: each tensor once, in order, by its bits, and nothing is computed otherwise."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle
import pytest

from paddle_resume.testing.digests import digest_of
from paddle_resume.testing.layer_trace import Event, LayerTrace


class Residual(paddle.nn.Layer):
    """Two layers, of which the first gives to the second and to the sum of both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = paddle.nn.Linear(4, 4)
        self.second = paddle.nn.Linear(4, 4)
        self.between = 0.0

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.first(x)
        if self.between:
            return x + self.second(x + self.between)
        return x + self.second(x)


@pytest.fixture
def trainer() -> Any:
    paddle_resume.seed_everything(0)
    model = Residual()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    return SimpleNamespace(model=model, optimizer=optimizer, loss=paddle.nn.MSELoss())


def step(trainer: Any, *, trace: bool = True) -> list[Event]:
    batch = [paddle.ones([2, 4]), paddle.zeros([2, 4])]

    def make() -> None:
        trainer.loss(trainer.model(batch[0]), batch[1]).backward()
        trainer.optimizer.step()
        trainer.optimizer.clear_grad()

    if not trace:
        make()
        return []
    with LayerTrace(trainer, [batch]) as noted:
        make()
    return noted.events


def test_a_step_is_noted_in_the_order_of_its_computation(trainer: Any) -> None:
    noted = [f"{event.kind} {event.what}".strip() for event in step(trainer)]
    assert noted[:5] == [
        "forward first (Linear)",
        "forward second (Linear)",
        "forward the model (Residual)",
        "forward loss (MSELoss)",
        "loss",
    ]
    backward = [each for each in noted[5:] if each.startswith("backward")]
    assert backward[0] == "backward what follows loss (MSELoss)"
    assert backward[1] == "backward loss (MSELoss)"
    assert set(backward[2:]) == {"backward what follows second (Linear)", "backward second (Linear)"}
    assert noted[5 + len(backward) :] == [
        f"gradient {name}" for name in ("first.weight", "first.bias", "second.weight", "second.bias")
    ]


def test_what_is_computed_between_two_layers_is_noted_as_what_goes_into_the_second(trainer: Any) -> None:
    trainer.model.between = 1.0
    ours = step(trainer)
    assert [(event.kind, event.what) for event in ours[:2]] == [
        ("forward", "first (Linear)"),
        ("input", "second (Linear)"),
    ]


def test_a_traced_step_gives_the_bits_of_one_that_is_not_and_leaves_nothing_behind(trainer: Any) -> None:
    backward = paddle.Tensor.backward
    step(trainer)
    traced = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
    paddle_resume.seed_everything(0)
    plain = SimpleNamespace(model=Residual(), loss=trainer.loss)
    plain.optimizer = paddle.optimizer.SGD(0.1, parameters=plain.model.parameters())
    step(plain, trace=False)
    for name, value in plain.model.state_dict().items():
        assert value.numpy().tobytes() == traced[name].tobytes()
    assert paddle.Tensor.backward is backward and "step" not in vars(trainer.optimizer)
    assert not any(layer._forward_post_hooks for layer in trainer.model.sublayers(include_self=True))


def test_a_digest_knows_bits_types_shapes_and_order() -> None:
    values = [
        paddle.zeros([2, 3]),
        paddle.full([2, 3], -0.0),
        paddle.zeros([3, 2]),
        paddle.zeros([2, 3], "int32"),
        paddle.zeros([2, 3], "bfloat16"),
        [paddle.zeros([3]), paddle.zeros([3])],
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        0.1,
        math.nextafter(0.1, 1),
        None,
        "",
        [],
        [[]],
    ]
    assert len({digest_of(value) for value in values}) == len(values)
    assert digest_of(float("nan")) == digest_of(float("nan"))
    assert digest_of(paddle.ones([2])) == digest_of(np.ones(2, "float32"))
    # What has no bits of its own counts by its class: its address is no part of a run.
    assert digest_of([object()]) == digest_of([object()])
