"""A step that fails says which it was, of which samples and where; of a user's own `train_step` and of streams too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_run import Points, net, trainer

from paddle_resume import Trainer, seed_everything
from paddle_resume.errors import ConfigError, DataError, PaddleResumeError, StateError


class Wrong(Points):
    """One sample, or all of them from it on, is another."""

    def __init__(self, index: int, x: Any = None, y: Any = None, from_there_on: bool = False) -> None:
        super().__init__()
        self.index, self.other, self.from_there_on = index, (x, y), from_there_on

    def __getitem__(self, index: int) -> Any:
        sample = super().__getitem__(index)
        if index == self.index or (self.from_there_on and index > self.index):
            return tuple(own if other is None else other for own, other in zip(sample, self.other))
        return sample


class Stream(paddle.io.IterableDataset):
    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        info = paddle.io.get_worker_info()
        yield from (self.data[i] for i in range(info.id if info else 0, 40, info.num_workers if info else 1))


class Own(Trainer):
    """A step as tutorials write it; what it returns may be something else."""

    gives: Any = staticmethod(lambda loss: loss)

    def train_step(self, batch: Any) -> Any:
        x, y = batch
        loss = paddle.nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return self.gives(loss)


def own_trainer(folder: Path, **options: Any) -> Own:
    seed_everything(1)
    model = net()
    return Own(model, paddle.optimizer.Adam(parameters=model.parameters()), save_dir=folder, console=False, **options)


LABEL = Wrong(17, y=np.array([5]))
SHAPE = Wrong(17, x=np.zeros(9, np.float32))
ALL = Wrong(16, x=np.zeros(9, np.float32), from_there_on=True)
TYPE = Wrong(17, y="cat")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (LABEL, r"{} cannot go through Own.train_step: its label is 5, and the model has 2 outputs"),
        (SHAPE, r"{} has in field 0 the shape \[9\], where the others have \[8\]"),
        (TYPE, r"{} has 'cat' where the others of its batch have whole numbers"),
        (
            ALL,
            r"Own.train_step failed \(\w+.py, line \d+\) on a batch of \[8, 9\] float32, \[8, 1\] int64: ValueError",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_a_step_of_ones_own_that_fails_names_step_and_sample(kind: str, data: Any, told: str, tmp_path: Path) -> None:
    name = r"dataset\[17\]" if kind == "dataset" else r"sample 17 \(counted from 0\) of the stream"
    given = data if kind == "dataset" else Stream(data)
    shuffle = None if kind == "stream" else False
    with pytest.raises(PaddleResumeError, match=r"In step 2 \(counted from 0.* of the training: " + told.format(name)):
        own_trainer(tmp_path).train(given, epochs=1, global_batch_size=8, shuffle=shuffle)


def test_what_was_tried_to_find_the_sample_did_not_count(tmp_path: Path) -> None:
    """Model and optimizer are as the steps before left them, and the sample's half steps are nowhere."""
    straight = own_trainer(tmp_path / "straight")
    straight.train(Points(), max_steps=2, global_batch_size=8, shuffle=False)
    failed = own_trainer(tmp_path / "failed")
    with pytest.raises(DataError, match="dataset"):
        failed.train(LABEL, epochs=1, global_batch_size=8, shuffle=False)
    for one, other in zip(failed.model.parameters(), straight.model.parameters()):
        assert one.numpy().tobytes() == other.numpy().tobytes()


@pytest.mark.parametrize(
    ("data", "told"), [(ALL, r"the model Sequential with its loss failed on a batch of \[8, 9\] float32.*: ValueError")]
)
def test_a_stream_whose_samples_change_shape_tells_the_step(data: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"In step 2 \(counted from 0\) of the training: {told}"):
        trainer(tmp_path).train(Stream(data), epochs=1, global_batch_size=8)


def test_a_sample_of_another_type_in_a_worker_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Data worker 1: sample 8 \(counted from 0\) of the stream has 'cat'"):
        trainer(tmp_path).train(Stream(TYPE), epochs=1, global_batch_size=8, num_workers=2)


@pytest.mark.parametrize(
    ("gives", "found"),
    [
        (lambda loss: None, "its loss is None"),
        (lambda loss: {}, "its loss is a dict of 0"),
        (lambda loss: [loss], "its loss is a list of 1"),
        (lambda loss: (loss, loss, loss), "its loss is a tuple of 3"),
        (lambda loss: True, "its loss is a bool"),
        (lambda loss: "done", "its loss is a str"),
        (lambda loss: paddle.ones([8]), r"its loss is a tensor of shape \[8\]"),
        (lambda loss: np.ones(8), r"its loss is a tensor of shape \[8\]"),
        (lambda loss: {"a": loss, "b": paddle.ones([8, 2])}, r"'b' of its losses is a tensor of shape \[8, 2\]"),
    ],
)
def test_what_is_no_loss_is_told_with_its_step(gives: Any, found: str, tmp_path: Path) -> None:
    made = own_trainer(tmp_path)
    made.gives = gives
    where = r"In step 0 \(counted from 0; .*\) of the training"
    with pytest.raises(StateError, match=rf"{where}: Own.train_step: {found}; expected the mean .* \(loss, output"):
        made.train(Points(), epochs=1, global_batch_size=8)


@pytest.mark.parametrize(
    "gives", [float, np.float32, lambda loss: loss.numpy(), lambda loss: np.array([1.5]), lambda loss: paddle.ones([1])]
)
def test_a_loss_may_be_any_one_number(gives: Any, tmp_path: Path) -> None:
    made = own_trainer(tmp_path)
    made.gives = gives
    made.train(Points(), epochs=1, global_batch_size=8)
    assert made.step == 5


class Lacking(Own):
    def train_step(self, batch: Any) -> Any:
        if self.step == 1:
            raise self.error
        return super().train_step(batch)


@pytest.mark.parametrize(
    ("error", "is_mistake"),
    [
        (NameError("name 'adam' is not defined"), True),
        (RuntimeError("(PreconditionNotMet) not initialized"), True),
        (RuntimeError("CUDA error: device lost"), False),
        (MemoryError("ResourceExhaustedError"), False),
        (OSError("a read failed"), False),
        (type("MyError", (ValueError,), {})("mine"), False),
    ],
)
def test_only_what_is_a_mistake_becomes_one(error: Exception, is_mistake: bool, tmp_path: Path) -> None:
    """The others leave as they are: a supervisor starts a command again that ended by them."""
    model = net()
    made = Lacking(model, paddle.optimizer.SGD(parameters=model.parameters()), save_dir=tmp_path, console=False)
    made.error = error
    with pytest.raises(ConfigError if is_mistake else type(error)) as found:
        made.train(Points(), epochs=1, global_batch_size=8)
    assert (f"In step 1 (counted from 0; epoch 0, step 2/5) of the training: Lacking.train_step failed" in str(found.value)) == is_mistake  # fmt: skip  # noqa: E501, F541


@pytest.mark.parametrize("split", ["valid", "test"])
def test_data_to_evaluate_on_that_do_not_fit_are_told_before_the_first_step(split: str, tmp_path: Path) -> None:
    wrong = Wrong(0, x=np.zeros(9, np.float32), from_there_on=True)
    made = trainer(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"a batch of \[2, 9\] float32, \[2, 1\] int64 of the {split} data failed with"
    ):
        made.train(Points(), **{f"{split}_data": wrong}, epochs=1, global_batch_size=8)
    assert made.step == 0 and not list(tmp_path.rglob("*.pd*"))
