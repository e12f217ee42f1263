"""The owners of found state in real checkpoints, and what a resume reports that is built otherwise."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, written

from paddle_resume.errors import CheckpointError, InexactResumeError
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.owners import FoundArrays, FoundState, Origin
from paddle_resume.found_state.paddle_rules import claim_model, claim_optimizer
from paddle_resume.found_state.start_values import Change
from paddle_resume.found_state.walker import Walker
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.stateful import Owners
from paddle_resume.training.checkpointer import Checkpointer


class Watch:
    def __init__(self, patience: int = 5) -> None:
        self.patience = patience
        self.seen: list[float] = []
        self.best: Any = None
        self.shadow: dict[str, Any] = {}
        self.rng = random.Random(1)


class Net(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.fc = paddle.nn.Linear(4, 3)
        self.register_buffer("mean", paddle.zeros([3]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.fc(x)
        self.mean = 0.9 * self.mean + 0.1 * y.detach().mean(0)  # a new tensor each time
        return y - self.mean


class Run:
    """A loop with the owners that there were, and found state for the rest."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        paddle.seed(1)
        self.net, self.watch = Net(), watch
        self.optimizer = paddle.optimizer.Adam(0.1, parameters=self.net.parameters())
        claims = Claims()
        claim_model(claims, self.net, "model")
        claim_optimizer(claims, self.optimizer, "optimizer", "scheduler")
        roots = {"model": self.net, "optimizer": self.optimizer, "callbacks": [watch]}
        arrays = FoundArrays()
        origins = {"callbacks": Origin(None, "callbacks")}
        self.owners = Owners(arrays=arrays, found=FoundState(Walker(roots, claims), arrays, origins=origins))
        for name, owner in paddle_owners(self.net, {"": self.optimizer}).items():
            self.owners.add(name, owner)
        self.checkpointer = Checkpointer(folder, "run", background=False)

    def train(self, steps: range) -> None:
        for step in steps:
            x = paddle.to_tensor(np.random.RandomState(step).rand(5, 4).astype(np.float32))
            loss = (self.net(x) ** 2).sum()
            loss.backward()
            self.optimizer.step()
            self.optimizer.clear_grad()
            self.watch.seen.append(float(loss) + self.watch.rng.random())
            for name, tensor in self.net.state_dict().items():
                self.watch.shadow[name] = 0.5 * self.watch.shadow.get(name, 0) + tensor.detach()

    def bits(self) -> Any:
        return written([self.watch, *(tensor.numpy() for tensor in self.net.state_dict().values())])


def test_a_loop_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    straight = Run(tmp_path / "straight", Watch())
    straight.train(range(6))
    run = Run(tmp_path / "run", Watch())
    run.train(range(3))
    run.checkpointer.save(3, run.owners)
    run.checkpointer.close()
    later = Run(tmp_path / "run", Watch())
    restored = later.checkpointer.restore(later.owners)
    assert restored is not None
    assert restored.differences == []
    later.train(range(3, 6))
    assert later.bits() == straight.bits()
    assert sorted(path.suffix for path in (tmp_path / "run").glob("run_step3.*")) == [
        *(".pdopt", ".pdparams", ".pdstates"),
    ]


def test_a_setting_that_is_another_one_stops_a_resume_and_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, Watch())
    run.train(range(1))
    run.checkpointer.save(1, run.owners)
    run.checkpointer.close()
    other = Run(tmp_path, Watch(patience=6))
    with pytest.raises(InexactResumeError, match=r"callbacks\[0\]\.patience: 5 -> 6"):
        other.checkpointer.restore(other.owners)
    other.checkpointer.restore(other.owners, allow_inexact=True)
    assert other.watch.patience == 6
    assert other.watch.seen == run.watch.seen


def changed(before: Any, after: Any) -> list[Change]:
    life, later = Life(before), Life(after)
    return [change._replace(holder="") for change in later.walker.changes(life.saved()[0])]


class Other:
    pass


def test_what_is_built_otherwise_is_told_as_data() -> None:
    def make(**attributes: Any) -> Any:
        return lambda: {"callbacks": [Thing(**attributes)], "dataset": Thing(x=np.zeros(3), names=["a", "b"])}

    assert changed(make(a=1, b=(1, 2)), make(a=1, b=(1, 2))) == []
    assert changed(make(a=1), make(a=2)) == [Change("callbacks[0].a", 1, 2, False)]
    assert changed(make(a=1), make(a=True)) == [Change("callbacks[0].a", 1, True, False)]
    assert changed(make(a=(1,)), make(a=(1, 2))) == [Change("callbacks[0].a", (1,), (1, 2), False)]
    assert changed(make(a=1), make(a=1, b=2)) == [Change("callbacks[0].b", None, 2, False)]
    assert changed(make(a=[1]), make(a=[2])) == [Change("callbacks[0].a", [1], [2], False)]
    assert changed(make(a={"b": 1}), make(a={"b": 2})) == [Change("callbacks[0].a", ["b 1"], ["b 2"], False)]
    assert changed(make(a=Thing()), make(a=Other())) == [
        Change("callbacks[0].a", "graphs:Thing", f"{__name__}:Other", True)
    ]
    (change,) = changed(make(a=Thing(b=Thing(c=[1]))), make())
    assert change == Change("callbacks[0].a", "graphs:Thing", None, True)
    (change,) = changed(make(a=np.zeros(3)), make(a=np.ones(3)))
    assert (change.path, change.is_another_thing) == ("callbacks[0].a", False)


def another(x: Any) -> Any:
    return x


def test_a_function_that_is_another_one_is_told() -> None:
    (change,) = changed(lambda: {"collate": lambda x: x + 1}, lambda: {"collate": another})
    assert change.path == "collate" and change.is_another_thing
    assert changed(lambda: {"collate": lambda x: x + 1}, lambda: {"collate": lambda x: x + 2}) == []
    assert changed(lambda: {"loss": paddle.nn.MSELoss()}, lambda: {"loss": paddle.nn.L1Loss()})[0] == Change(
        "loss", "paddle.nn.layer.loss:MSELoss", "paddle.nn.layer.loss:L1Loss", True
    )


def test_what_the_record_puts_back_is_no_difference() -> None:
    def make(value: Any) -> Roots:
        return {"callback": Thing(drawn=value, array=np.full(3, float(value)), items=[value])}

    life = Life(lambda: make(1))
    life.roots["callback"].drawn = 5
    life.roots["callback"].array += 1
    life.roots["callback"].items.append(1)
    record, arrays = life.saved()
    later = Life(lambda: make(2))
    assert later.walker.changes(record) == []
    later.walker.restore(record, arrays)
    assert written(later.roots) == written(life.roots)


def test_with_leave_a_run_goes_on_without_what_is_gone(tmp_path: Path) -> None:
    def make(*callbacks: Any) -> tuple[Roots, FoundState, FoundArrays]:
        roots = {"callbacks": list(callbacks), "seen": Thing(by=None)}
        arrays = FoundArrays()
        return roots, FoundState(Walker(roots), arrays), arrays

    roots, found, arrays = make(Thing(n=1, seen=[]), Watch())
    roots["callbacks"][0].seen.append(1)
    roots["callbacks"][1].seen.append(2.0)
    roots["seen"].by = [roots["callbacks"][1].seen, 3]
    state, file = found.state_dict(), arrays.state_dict()
    later, found, arrays = make(Thing(n=1, seen=[]))
    arrays.set_state_dict(file)
    with pytest.raises(CheckpointError, match=r"there is nothing at callbacks\[1\]"):
        found.set_state_dict(state)
    assert [change.path for change in found.changes(state)] == ["callbacks[1]"]
    arrays.set_state_dict(file)
    found.set_state_dict(state)
    assert later["callbacks"][0].seen == [1]
    assert later["seen"].by == [3]


def test_a_damaged_start_is_a_checkpoint_error() -> None:
    life = Life(lambda: {"callback": Thing(a=1)})
    record, _ = life.saved()
    for start in (None, [], {"callback": 3}, {"callback": []}):
        with pytest.raises(CheckpointError, match="is damaged"):
            life.walker.changes({**record, "start": start})


def test_the_record_says_what_is_told() -> None:
    import logging

    record, _ = Life(lambda: {"callback": Thing(log=logging.getLogger())}).saved()
    assert record["told"] == [["callback.log", "a logging.RootLogger"]]
