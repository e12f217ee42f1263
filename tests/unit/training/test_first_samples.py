# ruff: noqa: E501 - a table of sentences is read by its lines
"""Data, model, loss and metrics are tried backwards too before a run begins, and a bad sample is named at any step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_run import Points, net, trainer, weights

from paddle_resume import RandomStreams, Trainer
from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError, PaddleResumeError
from paddle_resume.training.first_samples import try_first_samples


class Changed(Points):
    """Points of which one is another sample than the others."""

    def __init__(self, index: int, x: Any = None, y: Any = None) -> None:
        super().__init__()
        self.index, self.other = index, (x, y)

    def __getitem__(self, index: int) -> Any:
        sample = super().__getitem__(index)
        if index != self.index:
            return sample
        return tuple(own if other is None else other for own, other in zip(sample, self.other))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            Changed(17, y=np.array([5])),
            r"dataset\[17\] cannot go through model and loss: its label is 5, and the model has 2 outputs",
        ),
        (Changed(33, y=np.array([-1])), r"dataset\[33\] .* its label is -1, .* for the labels 0 to 1"),
        (
            Changed(21, x=np.zeros(9, np.float32)),
            r"In step \d \(counted from 0; epoch 0, step \d/5\) of .*dataset\[21\] has in field 0 the shape \[9\], where the others have \[8\]",
        ),
        (Changed(21, y=np.array([0.5])), r"dataset\[21\] has 0.5 where the others of its batch have whole numbers"),
        (Changed(2, y="cat"), r"dataset\[2\] has 'cat' where the others of its batch have whole numbers"),
    ],
)
def test_a_bad_sample_is_named_with_its_step(data: Any, told: str, workers: int, tmp_path: Path) -> None:
    with pytest.raises(PaddleResumeError, match=told) as found:
        trainer(tmp_path).train(data, epochs=1, global_batch_size=8, num_workers=workers)
    assert "of the training: " in str(found.value) or "The first samples" in str(found.value)


def test_a_bad_sample_is_named_in_an_evaluation_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"In the evaluation on valid: dataset\[17\] .* its label is 5"):
        trainer(tmp_path).train(Points(), Changed(17, y=np.array([5])), epochs=1, global_batch_size=8)


class OnlyForward(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor) -> paddle.Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        raise ValueError("this operator has no way back")


class NoWayBack(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return OnlyForward.apply(self.inner(x))


class Narrow(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = paddle.nn.Linear(7, 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "loss", "told"),
    [
        (NoWayBack, None, "this operator has no way back"),
        (Narrow, None, r"model Narrow, loss CrossEntropyLoss, metrics and data do not go together: a batch of \[2, 8\] float32, \[2, 1\] int64 failed"),
        (net, lambda output, label: output.detach().mean(), "The loss has no gradient"),
        (net, lambda output, label: output, "its loss is a tensor of shape"),
        (net, paddle.nn.CrossEntropyLoss(reduction="none"), "expected the mean over the batch"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_before_anything_is_written(
    model: Any, loss: Any, told: str, tmp_path: Path
) -> None:
    made = trainer(tmp_path, model=model)
    made.loss = loss or made.loss
    with pytest.raises(PaddleResumeError, match=told) as found:
        made.train(Points(), epochs=1, global_batch_size=8)
    assert "/paddle/" not in str(found.value) and "[operator" not in str(found.value)
    assert made.step == 0 and not list(tmp_path.rglob("*.pd*"))


class As(Points):
    """Points whose inputs and labels are what `change` makes of them."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def __getitem__(self, index: int) -> Any:
        return self.change(*super().__getitem__(index))


def one_out() -> paddle.nn.Layer:
    return paddle.nn.Linear(8, 1)


def convolution() -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 3), paddle.nn.Flatten(), paddle.nn.Linear(8, 2))


ADVICE = {
    "fractions of double precision": (net, None, lambda x, y: (x.astype("float64"), y), "inputs of float32"),
    "bytes": (net, None, lambda x, y: ((x * 9).astype("uint8"), y), "inputs of float32"),
    "labels with fractions": (net, None, lambda x, y: (x, y.astype("float32")), "labels of int64"),
    "whole numbers as labels": (one_out, "BCEWithLogitsLoss", lambda x, y: (x, y), "labels of float32"),
    "both of another type": (
        net,
        None,
        lambda x, y: (x.astype("float64"), y.astype("float32")),
        "inputs of float32 and labels of int64",
    ),
    "rows with a one": (
        net,
        None,
        lambda x, y: (x, np.eye(2, dtype="float32")[int(y[0])]),
        "labels that are the number",
    ),
    "images without channels": (
        convolution,
        None,
        lambda x, y: (np.resize(x, (4, 4)), y),
        "images that have an axis of channels",
    ),
}


@pytest.mark.parametrize("slip", ADVICE)
def test_what_would_have_gone_is_told_with_what_failed(slip: str, tmp_path: Path) -> None:
    model, loss, change, advice = ADVICE[slip]
    made = trainer(tmp_path, model=model)
    made.loss = getattr(paddle.nn, loss)() if loss else made.loss
    with pytest.raises(PaddleResumeError, match=f"With {re.escape(advice)}.* it goes: have the dataset give that"):
        made.train(As(change), epochs=1, global_batch_size=8)
    assert all(parameter.grad is None for parameter in made.model.parameters())


def test_nothing_is_advised_that_does_not_help(tmp_path: Path) -> None:
    with pytest.raises(PaddleResumeError, match="do not go together") as found:
        trainer(tmp_path, model=Narrow).train(As(lambda x, y: (x.astype("float64"), y)), epochs=1, global_batch_size=8)
    assert "it goes" not in str(found.value)


def test_labels_that_are_all_too_large_are_named_from_the_first(tmp_path: Path) -> None:
    with pytest.raises(PaddleResumeError, match=r"dataset\[\d+\]: its label is 9, and the model has 2 outputs"):
        trainer(tmp_path).train(As(lambda x, y: (x, y * 0 + 9)), epochs=1, global_batch_size=8)


def test_paddle_says_what_is_wrong_in_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(PaddleResumeError) as found:
        trainer(tmp_path, model=Narrow).train(Points(), epochs=1, global_batch_size=8)
    said = str(found.value)
    # Paddle 3, and 2.6.
    assert ("is [8], and the" in said and "is [7]" in said) or "8, but received Y'dims[0] is 7" in said


class Moving(paddle.nn.Layer):
    """Has buffers and a count that each forward moves, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = paddle.nn.Sequential(paddle.nn.Linear(8, 6), paddle.nn.BatchNorm1D(6), paddle.nn.Dropout(0.5))
        self.last, self.calls = paddle.nn.Linear(6, 2), 0
        self.register_buffer("seen", paddle.zeros([1]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        self.calls += 1
        self.seen.set_value(self.seen + x.mean())
        return self.last(self.inner(x))


def test_the_first_samples_move_nothing(tmp_path: Path) -> None:
    made = trainer(tmp_path, model=Moving)
    model, before, streams = made.model, weights(made), str(RandomStreams().state_dict())
    model.inner[2].eval()
    feed, calls = Feed(Points(), batch_size=8), []

    def forward(batch: Any) -> Any:
        calls.append(batch.key)
        output = model(batch.inputs[0])
        assert model.training
        return made.loss(output, batch.label), output

    def put_back() -> None:
        model.calls = 0

    try_first_samples(feed, model, forward, [], put_back, "all")
    assert len(calls) == 1 and np.frombuffer(calls[0], np.int64).tolist() == feed.first_indices(2)
    assert weights(made) == before and str(RandomStreams().state_dict()) == streams
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.inner[2].training and model.inner[1].training and model.calls == 0


class Named(Points):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"x": x, "target": y}


def test_a_dict_without_a_label_is_told_what_to_call_it(tmp_path: Path) -> None:
    with pytest.raises(PaddleResumeError, match="A sample is a dict with 'x', 'target', and none of them is called"):
        trainer(tmp_path).train(Named(), epochs=1, global_batch_size=8)


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "is None"), ("0.1", "is a str"), ({"a": None}, "'a' of its losses is None"), ([1], "is a list")],
)
def test_a_step_that_returns_no_loss_is_told_what_is_expected(value: Any, told: str, tmp_path: Path) -> None:
    class Own(Trainer):
        def train_step(self, batch: Any) -> Any:
            return value

    model = net()
    made = Own(model, paddle.optimizer.SGD(parameters=model.parameters()), save_dir=tmp_path, console=False)
    with pytest.raises(PaddleResumeError, match=told):
        made.train(Points(), global_batch_size=8)


def test_the_bad_sample_of_a_stream_is_known_by_its_place_in_the_batch(tmp_path: Path) -> None:
    class Stream(paddle.io.IterableDataset):
        def __iter__(self) -> Any:
            return (Changed(17, y=np.array([5]))[index] for index in range(40))

    with pytest.raises(
        DataError, match=r"In step 2 .counted from 0. of the training: sample 17 \(counted from 0\) of the stream"
    ):
        trainer(tmp_path).train(Stream(), epochs=1, global_batch_size=8)


class Sparse(Points):
    """Only the second half is of any use to the model."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return (x[:7] if index < 20 else x), y


def test_the_samples_that_are_tried_are_those_that_a_sampler_gives(tmp_path: Path) -> None:
    data = Sparse()
    sampler = paddle.io.BatchSampler(sampler=Second(data), batch_size=5)
    loader = paddle.io.DataLoader(data, batch_sampler=sampler)
    assert Feed.of(loader).first_indices(2) == [39, 38]
    made = trainer(tmp_path)
    made.train(loader, epochs=1)
    assert made.step == 4
    with pytest.raises(PaddleResumeError, match="do not go together"):
        trainer(tmp_path / "all").train(data, epochs=1, global_batch_size=40, shuffle=False)


class Second(paddle.io.Sampler):
    """The second half, the last first."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(39, 19, -1))

    def __len__(self) -> int:
        return 20
