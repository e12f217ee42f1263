"""The own way through a model's layers tells what Paddle's tells."""

from __future__ import annotations

from typing import Any, Callable

import paddle
import pytest

from paddle_resume.owners.named_parameters import named_layers, named_parameters

nn = paddle.nn


class Tied(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.last = nn.Sequential(nn.Linear(3, 3), self.first, nn.BatchNorm1D(3))
        self.last[0].weight = self.first.weight
        self.scale = self.create_parameter([3])
        self.none = None
        self.add_sublayer("empty", None) if False else self._sub_layers.update(empty=None)
        self._parameters["without"] = None


class Renamed(nn.Sequential):
    def named_sublayers(self, *args: Any, **options: Any) -> Any:
        for name, layer in super().named_sublayers(*args, **options):
            yield f"renamed {name}", layer


class OnlySome(nn.Sequential):
    def named_parameters(self, *args: Any, **options: Any) -> Any:
        return iter([("only", self[0].weight)])


MODELS: list[Callable[[], Any]] = [
    lambda: nn.Linear(2, 2),
    Tied,
    lambda: nn.LSTM(4, 4, num_layers=2),
    lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8), 2),
    lambda: paddle.vision.models.resnet18(num_classes=3),
    lambda: Renamed(nn.Linear(2, 2), nn.Linear(2, 2)),
    lambda: nn.Sequential(nn.Linear(2, 2), Renamed(nn.Linear(2, 2))),
    lambda: OnlySome(nn.Linear(2, 2)),
]


@pytest.mark.parametrize("make", MODELS)
def test_names_order_and_identity_are_paddles(make: Callable[[], Any]) -> None:
    model = make()
    expected = [(name, id(each)) for name, each in model.named_parameters()]
    assert [(name, id(each)) for name, each in named_parameters(model).items()] == expected
    layers = [(name, id(each)) for name, each in model.named_sublayers(include_self=True)]
    assert [(name, id(each)) for name, each in named_layers(model)] == layers


def test_what_changed_since_the_last_time_is_told() -> None:
    model = Tied()
    before = list(named_parameters(model))
    model.late = nn.Linear(3, 3)
    del model.scale
    assert list(named_parameters(model)) == [name for name, _ in model.named_parameters()] != before
