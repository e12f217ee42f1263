# ruff: noqa: E501 - a table of sentences is read by its lines
"""Slips in Python: each is told in one sentence that names the argument, before anything runs or is written."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from small_run import Points, net

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import (
    Best,
    Divergence,
    Feed,
    Monitoring,
    Precision,
    ResumableBatchSampler,
    SaveSchedule,
    StepOptions,
    Trainer,
    WeightAverage,
    set_language,
)
from paddle_resume.errors import PaddleResumeError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.translations import shown


def trainer(folder: Path, **options: Any) -> Trainer:
    model = options.pop("model", None) or net()
    optimizer = options.pop("optimizer", None) or paddle.optimizer.SGD(0.1, parameters=model.parameters())
    given = {"loss": paddle.nn.CrossEntropyLoss(), "save_dir": folder / "checkpoint", "console": False, **options}
    return Trainer(model, optimizer, **given)


def load_points() -> Points:
    return Points()


BUILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "the class of a loss": (
        lambda f: trainer(f, loss=paddle.nn.CrossEntropyLoss),
        "Trainer(loss=CrossEntropyLoss): expected a function or another callable object or None, found the class "
        "CrossEntropyLoss itself; write loss=CrossEntropyLoss(...).",
    ),
    "a name with a folder in it": (
        lambda f: trainer(f, name="a/b"),
        "The name of a run is the first part of its files' names, without '/', '\\' or a leading '.'; found 'a/b'. Give "
        "folders with save_dir, such as save_dir='checkpoint/exp', name='run1'.",
    ),
    "curves of a name with a folder in it": (
        lambda f: VisualDLLogger(f, "a/b"),
        "The name of a run is the first part of its files' names, without '/', '\\' or a leading '.'; found 'a/b'. Give "
        "folders with save_dir, such as save_dir='checkpoint/exp', name='run1'.",
    ),
    "a metric without a list": (
        lambda f: trainer(f, metrics=Accuracy()),
        "Trainer(metrics=...): expected a list of Metric, found an Accuracy; write metrics=[...].",
    ),
    "the class of a metric": (
        lambda f: trainer(f, metrics=[Accuracy]),
        "Trainer(metrics=[...]): expected a list of Metric, found a list with the class Accuracy itself; write metrics=[Accuracy(...)].",
    ),
    "the class of a model": (
        lambda f: trainer(f, model=paddle.nn.Linear, optimizer=paddle.optimizer.SGD(parameters=net().parameters())),
        "Trainer(model=Linear): expected a Layer, found the class Linear itself; write model=Linear(...).",
    ),
    "model and optimizer swapped": (
        lambda f: Trainer(paddle.optimizer.SGD(parameters=net().parameters()), net()),  # type: ignore[arg-type]
        "Trainer(model=...): expected a Layer, found a SGD; model and optimizer seem to be swapped.",
    ),
    "no optimizer": (lambda f: Trainer(net()), "Trainer() is called without optimizer=; give that too."),  # type: ignore[call-arg]
    "a loss in third place": (
        lambda f: Trainer(net(), paddle.optimizer.SGD(parameters=net().parameters()), paddle.nn.MSELoss()),  # type: ignore[misc]
        "Trainer() takes model, optimizer without a name, and all others by their names; write loss=...",
    ),
    "the optimizer of another model": (
        lambda f: trainer(f, model=net(), optimizer=paddle.optimizer.SGD(parameters=net().parameters())),
        "is no parameter of the model",
    ),
    "a misspelled argument": (
        lambda f: trainer(f, metric=[]),
        "Trainer has no argument metric=; did you mean metrics=?",
    ),
    "an argument of a group": (
        lambda f: trainer(f, log_every=3),
        "Trainer(log_every=...) belongs to a group: write Trainer(monitoring=Monitoring(log_every=...)).",
    ),
    "an argument of train": (
        lambda f: trainer(f, epochs=3),
        "Trainer(epochs=...) belongs to the training: write trainer.train(..., epochs=...).",
    ),
    "a batch size": (lambda f: trainer(f, batch_size=3), "write trainer.train(..., global_batch_size=...)."),
    "a seed that is a text": (
        lambda f: trainer(f, seed="1"),
        "Trainer(seed='1'): expected a whole number from 0 to 4294967295, found a text; write seed=1.",
    ),
    "a negative seed": (lambda f: trainer(f, seed=-1), "Trainer(seed=-1): expected a whole number from 0"),
    "a logger by its name": (
        lambda f: trainer(f, logger="visualdl"),
        "Trainer(logger='visualdl'): expected a Logger, a list of them, \"auto\" or None, found a text.",
    ),
    "a schedule that is a number": (
        lambda f: trainer(f, schedule=3),
        "Trainer(schedule=3): expected a SaveSchedule, found 3.",
    ),
    "a callback that is none": (
        lambda f: trainer(f, callbacks=[print]),
        "Trainer(callbacks=[...]): expected a list of",
    ),
    "no steps to accumulate": (
        lambda f: StepOptions(accumulate_steps=0),
        "StepOptions(accumulate_steps=0): expected a whole number of 1 or more, found 0.",
    ),
    "a policy that is none": (
        lambda f: StepOptions(on_nan="rolback"),
        'StepOptions(on_nan=\'rolback\'): expected a Divergence or one of "stop", "ignore", "skip", "rollback", found a '
        'text; did you mean "rollback"?',
    ),
    "an interval that is none": (lambda f: StepOptions(lr_interval="steps"), 'did you mean "step"?'),
    "precision as a text": (lambda f: StepOptions(precision="O1"), "expected a Precision or None, found a text"),  # type: ignore[arg-type]
    "a level that is none": (lambda f: Precision("O3"), 'Precision(level=\'O3\'): expected one of "O1", "O2"'),
    "a metric without its split": (lambda f: Best("acc"), "expected a metric of the validation data, such as"),
    "a mode that is none": (lambda f: Best(mode="maximum"), 'expected one of "auto", "max", "min", found a text'),
    "a decay of one": (lambda f: WeightAverage(1.0), "WeightAverage(decay=1.0): expected a number from 0 to below 1"),
    "a factor that raises": (
        lambda f: Divergence("rollback", lr_factor=2),
        "Divergence(lr_factor=2): expected a number",
    ),
    "logging at no step": (lambda f: Monitoring(log_every=0), "Monitoring(log_every=0): expected a whole number of 1"),
    "a misspelled schedule": (
        lambda f: SaveSchedule(evry_steps=3),  # type: ignore[call-arg]
        "SaveSchedule has no argument evry_steps=; did you mean every_steps=?",
    ),
    "a schedule of no steps": (lambda f: SaveSchedule(every_steps=0), "SaveSchedule(every_steps=0): expected a whole"),
    "a share above one": (
        lambda f: SaveSchedule(budget=3),
        "SaveSchedule(budget=3): expected a number above 0 and below",
    ),
    "a seed of nothing": (
        lambda f: paddle_resume.seed_everything(None),
        "seed_everything(seed=None): expected a whole",
    ),  # type: ignore[arg-type]
    "a sampler of batches of none": (
        lambda f: ResumableBatchSampler(Points(), batch_size=0),
        "ResumableBatchSampler(batch_size=0): expected a whole number of 1 or more, found 0.",
    ),
    "a feed of a model": (lambda f: Feed(net()), "Feed(dataset=...): expected a Dataset, found a Sequential"),  # type: ignore[arg-type]
    "a log without a name": (lambda f: VisualDLLogger(f), "VisualDLLogger() is called without name="),  # type: ignore[call-arg]
    "a log in no folder": (
        lambda f: JsonlLogger(None),
        "JsonlLogger(folder=None): expected a text or a path, found None",
    ),  # type: ignore[arg-type]
}


def english_in_chinese(message: str) -> list[str]:
    """What of the message is still three English words one after the other where a person reads Chinese."""
    set_language("zh")
    try:
        return re.findall(r"(?<![\w.])[a-z]+ [a-z]+ [a-z]+", shown(message))
    finally:
        set_language("en")


@pytest.mark.parametrize("slip", BUILT)
def test_a_slip_where_a_run_is_put_together(slip: str, tmp_path: Path) -> None:
    build, sentence = BUILT[slip]
    with pytest.raises(PaddleResumeError) as found:
        build(tmp_path)
    assert sentence in str(found.value)
    assert not english_in_chinese(str(found.value))
    assert list(tmp_path.iterdir()) == []


def loader(**options: Any) -> paddle.io.DataLoader:
    return paddle.io.DataLoader(Points(), **options)


TRAINED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no epochs": (lambda: {"epochs": 0}, "Trainer.train(epochs=0): expected a whole number of 1 or more, found 0."),
    "epochs as a text": (lambda: {"epochs": "3"}, "Trainer.train(epochs='3'): expected a whole number of 1 or more, found a text; write epochs=3."),
    "half an epoch": (lambda: {"epochs": 0.5}, "Trainer.train(epochs=0.5): expected a whole number of 1 or more, found 0.5."),
    "epochs that are true": (lambda: {"epochs": True}, "Trainer.train(epochs=True): expected a whole number"),
    "batch_size": (lambda: {"batch_size": 8}, "Trainer.train(batch_size=): it is called global_batch_size="),
    "a misspelled argument": (lambda: {"epoch": 3}, "Trainer.train has no argument epoch=; did you mean epochs=?"),
    "a loader's batch size and another": (
        lambda: {"train_data": loader(batch_size=16), "global_batch_size": 8},
        "Trainer.train(global_batch_size=8) and DataLoader(batch_size=16) say one thing differently.",
    ),
    "a loader that shuffles and shuffle=False": (
        lambda: {"train_data": loader(shuffle=True), "shuffle": False},
        "Trainer.train(shuffle=False) and DataLoader(shuffle=True) say one thing differently.",
    ),
    "no data": (lambda: {"train_data": None}, "Trainer.train(train_data=None): expected a paddle.io.Dataset"),
    "a function that is not called": (
        lambda: {"train_data": load_points},
        "found the function load_points itself, which is not called; write train_data=load_points(...).",
    ),
    "the class of a dataset": (lambda: {"train_data": Points}, "found the class Points itself; write train_data=Points(...)."),
    "a tensor": (lambda: {"train_data": paddle.zeros([8, 8])}, "write paddle.io.TensorDataset([inputs, labels])."),
    "arrays": (
        lambda: {"train_data": (np.zeros((8, 8)), np.zeros(8))},
        "found a tuple of ndarray; write paddle.io.TensorDataset([x, y]) for two tensors of as many samples.",
    ),
    "a list of samples": (lambda: {"train_data": [1, 2]}, "derive its class from paddle.io.Dataset."),
    "a model": (lambda: {"train_data": net()}, "the model belongs to Trainer(model, optimizer)."),
    "a number for validation": (lambda: {"valid_data": 3}, "Trainer.train(valid_data=3): expected a paddle.io.Dataset"),
    "resume=True": (lambda: {"resume": True}, 'Trainer.train(resume=True): resume="auto", which need not be said'),
    "resume=None": (lambda: {"resume": None}, 'Trainer.train(resume=None): resume="auto", which need not be said'),
    "a misspelled resume": (lambda: {"resume": "atuo"}, 'There is no checkpoint atuo; did you mean auto? resume="auto"'),
    "a checkpoint that is not there": (lambda: {"resume": "nowhere/model_epoch3"}, "There is no checkpoint nowhere/model_epoch3"),
    "the best where there is none": (lambda: {"resume": "best"}, "model_best"),
    "a change of nothing": (lambda: {"allow_change": "learnin_rate"}, "Trainer.train(allow_change=['learnin_rate']): did you mean 'learning_rate'?"),
    "a misspelled change": (lambda: {"allow_change": ["optimiser"]}, "did you mean 'optimizer'?"),
    "fewer than no workers": (lambda: {"num_workers": -1}, "Trainer.train(num_workers=-1): expected a whole number of 0"),
    "no batches": (lambda: {"limit_batches": 0}, "Trainer.train(limit_batches=0): expected a whole number of 1 or more"),
    "overwrite as a text": (lambda: {"overwrite": "yes"}, "Trainer.train(overwrite='yes'): expected True or False"),
}  # fmt: skip


@pytest.mark.parametrize("slip", TRAINED)
def test_a_slip_where_it_is_trained(slip: str, tmp_path: Path) -> None:
    options, sentence = TRAINED[slip]
    made = trainer(tmp_path)
    with pytest.raises(PaddleResumeError) as found:
        made.train(**{"train_data": Points(), **options()})
    assert sentence in str(found.value)
    assert not english_in_chinese(str(found.value))
    assert not list(tmp_path.rglob("*.pd*")) and not list(tmp_path.rglob("*.log"))
    assert made.step == 0


def test_a_slip_where_it_is_evaluated(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    with pytest.raises(PaddleResumeError, match=r"Trainer.evaluate\(data=Points\): .* write data=Points\(...\)"):
        made.evaluate(Points)
    with pytest.raises(PaddleResumeError, match=r"Trainer.predict\(data=...\): .* write paddle.io.TensorDataset"):
        made.predict(paddle.zeros([8, 8]))
    with pytest.raises(PaddleResumeError, match="has no argument batchsize=; did you mean batch_size="):
        made.evaluate(Points(), batchsize=3)


# What only the package itself makes, or what is made of a config; their arguments are not a user's.
_NOT_A_USERS = {
    "Callback", "Difference", "Environment", "Owners", "PerRank", "RunView", "World", "Logger", "Processes", "sharded_owners",
    "MeshConfig", "SplitConfig", "DeviceMesh", "Heartbeat", "ClipAcrossGroups", "Warmup", "__version__", "set_language",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(paddle_resume.__all__) - _NOT_A_USERS))
def test_every_function_and_class_of_the_face_refuses_what_it_does_not_know(name: str) -> None:
    face = getattr(paddle_resume, name)
    for argument in inspect.signature(face).parameters.values():
        if argument.annotation in ("Any", Any) or argument.kind is argument.VAR_KEYWORD:
            continue
        with pytest.raises(PaddleResumeError) as found:
            face(**{argument.name: object()})
        assert f"{argument.name}" in str(found.value) or "without" in str(found.value)
    with pytest.raises(PaddleResumeError, match="no argument|without"):
        face(no_such_argument=1)
