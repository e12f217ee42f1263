"""What owners hold is brought back in memory, whatever form their state has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_resume.checkpoint.sharded_state import ShardedState
from paddle_resume.errors import SaveError
from paddle_resume.loggers import JsonlLogger
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.parallel.world import World
from paddle_resume.training.state_as_now import state_as_now


class Steps:
    """A layer and its optimizer, with all that both hold in one list."""

    def __init__(self, kind: str) -> None:
        paddle.seed(1)
        self.layer = paddle.nn.Linear(4, 4)
        parameters = self.layer.parameters()
        if kind == "master weights":  # As far as Paddle has kernels for them on a CPU.
            self.layer.to(dtype="bfloat16")
        self.optimizer: Any = {
            "Adam": lambda: paddle.optimizer.Adam(0.1, parameters=parameters),
            "master weights": lambda: paddle.optimizer.SGD(0.1, parameters=parameters, multi_precision=True),
            "LBFGS": lambda: paddle.optimizer.LBFGS(0.1, max_iter=3, parameters=parameters),
        }[kind]()
        self.kind = kind

    def step(self) -> None:
        def closure() -> paddle.Tensor:
            self.optimizer.clear_grad()
            loss = sum(((p.astype("float32") - 3) ** 4).sum() for p in self.layer.parameters())
            loss.backward()
            return loss

        if self.kind == "LBFGS":
            self.optimizer.step(closure)
        else:
            closure()
            self.optimizer.step()
        self.optimizer.clear_grad()

    def held(self) -> dict[str, Any]:
        held = {**self.layer.state_dict(), **self.optimizer.state_dict()}
        held.update({f"master {name}": tensor for name, tensor in held.pop("master_weights", {}).items()})
        if self.kind == "LBFGS":  # What it calls `al` it writes anew before it reads it.
            held.update({name: value for name, value in self.optimizer.state.items() if name != "al"})
            held.pop("state")
        return {name: plain(value) for name, value in held.items()}


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.numpy().tobytes() if isinstance(value, paddle.Tensor) else value


@pytest.mark.parametrize("kind", ["Adam", "master weights", "LBFGS"])
def test_weights_and_optimizer_are_brought_back_and_go_on_as_from_there(kind: str) -> None:
    made = Steps(kind)
    made.step()
    owners = list(paddle_owners(made.layer, {"": made.optimizer}).values())
    before, put_back = made.held(), state_as_now(owners)
    made.step()
    then = made.held()
    assert then != before
    put_back()
    assert made.held() == before
    made.step()
    assert made.held() == then


def test_a_part_of_a_model_that_is_split_is_brought_back(tmp_path: Path) -> None:
    made = Steps("Adam")
    made.step()
    shards = ShardedState(made.layer, made.optimizer, save_dir=tmp_path, name="run", world=World())
    before, put_back = made.held(), state_as_now([shards])
    made.step()
    assert made.held() != before
    put_back()
    assert made.held() == before
    assert list(tmp_path.iterdir()) == []


def test_a_log_goes_back_to_what_it_held_and_one_that_cannot_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(log: JsonlLogger) -> None:
        raise SaveError("No space left on device")

    log = JsonlLogger(tmp_path)
    log.log_scalars({"a": 1.0}, 1)
    put_back = state_as_now([log])
    log.log_scalars({"b": 2.0}, 2)
    put_back()
    log.log_scalars({"c": 3.0}, 3)
    with monkeypatch.context() as patch:
        patch.setattr(JsonlLogger, "prepare_save", full)
        put_back = state_as_now([log])
    put_back()
    log.close()
    lines = log.path.read_text().splitlines()
    assert [name for name in "abc" if any(f'"{name}"' in line for line in lines)] == ["a", "c"]


def test_what_is_kept_is_a_copy() -> None:
    class Counts:
        def __init__(self) -> None:
            self.state = {"counts": np.zeros(2), "nested": [1]}

        def state_dict(self) -> dict[str, Any]:
            return self.state

        def set_state_dict(self, state: dict[str, Any]) -> None:
            self.state = state

    counts = Counts()
    put_back = state_as_now([counts, object()])
    counts.state["counts"] += 1
    counts.state["nested"].append(2)
    put_back()
    assert counts.state["counts"].tolist() == [0, 0] and counts.state["nested"] == [1]
