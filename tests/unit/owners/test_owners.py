"""Model, optimizer and LR scheduler: bound by structured name, complete or refused, and exact when they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle.optimizer import lr

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.errors import CheckpointError, InexactResumeError, StateError
from paddle_resume.owners.model import ModelState, ParameterNames, load_weights
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.scheduler import SchedulerState
from paddle_resume.owners.tensor_views import fill, view
from paddle_resume.stateful import Owners

OPTIMIZERS = {
    "Adam": lambda p: paddle.optimizer.Adam(0.05, parameters=p),
    "AdamW": lambda p: paddle.optimizer.AdamW(0.05, parameters=p, weight_decay=0.1),
    "Momentum": lambda p: paddle.optimizer.Momentum(0.05, parameters=p, use_nesterov=True),
    "SGD": lambda p: paddle.optimizer.SGD(0.05, parameters=p),
    "RMSProp": lambda p: paddle.optimizer.RMSProp(0.05, parameters=p, momentum=0.5, centered=True),
    "Lamb": lambda p: paddle.optimizer.Lamb(0.05, parameters=p),
}


class Net(paddle.nn.Layer):
    """Two layers of one shape, so that state bound to the wrong one would fit."""

    def __init__(self) -> None:
        super().__init__()
        self.first = paddle.nn.Linear(4, 4)
        self.second = paddle.nn.Linear(4, 4)
        self.norm = paddle.nn.BatchNorm1D(4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.second(self.norm(paddle.tanh(self.first(x))))


class Run:
    """A model with its optimizer, and their owners as the trainer has them."""

    def __init__(self, optimizer: Callable[[Any], Any], model: paddle.nn.Layer | None = None) -> None:
        paddle.seed(7)
        self.model = model or Net()
        self.optimizer = optimizer(self.model.parameters())
        names = ParameterNames(self.model)
        self.owners = Owners(
            names=names,
            model=ModelState(self.model, names),
            optimizer=OptimizerState(self.optimizer, names),
            scheduler=SchedulerState(self.optimizer),
        )

    def train(self, start: int, stop: int) -> None:
        for step in range(start, stop):
            data = np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32)
            (self.model(paddle.to_tensor(data)) ** 2).mean().backward()
            self.optimizer.step()
            self.optimizer.clear_grad()

    def bits(self) -> dict[str, bytes]:
        return {name: tensor.numpy().tobytes() for name, tensor in self.model.state_dict().items()}


def saved(run: Run, folder: Path, step: int = 3) -> Path:
    checkpointer = CheckpointEngine(folder, "run", background=False)
    prefix = checkpointer.save(step, run.owners)
    checkpointer.close()
    return prefix


def restored(run: Run, folder: Path, **options: Any) -> Run:
    checkpointer = CheckpointEngine(folder, "run", background=False)
    try:
        assert checkpointer.restore(run.owners, **options) is not None
    finally:
        checkpointer.close()
    return run


# ---------------------------------------------------------------- the optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_exactly_although_other_models_were_built_first(name: str, tmp_path: Path) -> None:
    straight = Run(OPTIMIZERS[name])
    straight.train(0, 3)
    saved(straight, tmp_path)
    straight.train(3, 6)
    paddle.nn.Linear(2, 2), Net(), paddle.nn.Embedding(3, 3)  # move Paddle's counter of names
    again = restored(Run(OPTIMIZERS[name]), tmp_path)
    assert again.model.first.weight.name != straight.model.first.weight.name
    again.train(3, 6)
    assert again.bits() == straight.bits()


@pytest.mark.parametrize("name", ["Adam", "Momentum"])
def test_without_the_optimizer_s_state_the_same_steps_give_other_bits(name: str, tmp_path: Path) -> None:
    straight = Run(OPTIMIZERS[name])
    straight.train(0, 3)
    saved(straight, tmp_path)
    straight.train(3, 6)
    again = Run(OPTIMIZERS[name])
    load_weights(again.model, load_model(tmp_path))
    again.train(3, 6)
    assert again.bits() != straight.bits()


def load_model(folder: Path) -> dict[str, np.ndarray]:
    return load(folder / "run_step3").tensors[".pdparams"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_that_made_no_step_saves_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    run = Run(OPTIMIZERS[name])
    run.train(0, 3)
    first = saved(run, tmp_path / "a")
    second = saved(restored(Run(OPTIMIZERS[name]), tmp_path / "a"), tmp_path / "a", step=4)
    for suffix in (".pdparams", ".pdopt"):
        assert first.with_name(first.name + suffix).read_bytes() == second.with_name(second.name + suffix).read_bytes()


def test_stock_paddle_loads_the_optimizer_s_file_into_the_process_that_wrote_it(tmp_path: Path) -> None:
    scheduler = lr.StepDecay(0.05, 2)
    run = Run(lambda p: paddle.optimizer.Adam(scheduler, parameters=p))
    run.train(0, 3)
    scheduler.step()
    prefix = saved(run, tmp_path)
    expected = {k: v.numpy().tobytes() for k, v in run.optimizer.state_dict().items() if hasattr(v, "numpy")}
    loaded = paddle.load(f"{prefix}.pdopt", return_numpy=True)
    assert {k: np.asarray(v).tobytes() for k, v in loaded.items() if k in expected} == expected
    assert loaded["LR_Scheduler"]["last_epoch"] == scheduler.last_epoch


def test_an_optimizer_s_missing_extra_and_misshaped_entries_are_all_named() -> None:
    run = Run(OPTIMIZERS["Adam"])
    run.train(0, 1)
    state = {name: np.array(value) for name, value in run.owners["optimizer"].state_dict().items()}
    name = run.model.first.weight.name
    del state[f"{name}_moment1_0"]
    state[f"{name}_moment2_0"] = np.zeros((4, 5), np.float32)
    state[f"{name}_velocity_0"] = np.zeros((4, 4), np.float32)
    state["linear_999.w_0_moment1_0"] = np.zeros(1, np.float32)
    before = run.owners["optimizer"].state_dict()[f"{run.model.first.bias.name}_moment1_0"].copy()
    state[f"{run.model.first.bias.name}_moment1_0"] += 1
    with pytest.raises(CheckpointError) as caught:
        run.owners["optimizer"].set_state_dict(state)
    for part in (
        "does not fit the optimizer Adam",
        "first.weight moment1 is missing in the file",
        "first.weight velocity is unknown to the optimizer",
        "linear_999.w_0_moment1_0 (no such parameter) is unknown to the optimizer",
        "first.weight moment2 has shape [4, 5] in the file and [4, 4] here",
    ):
        assert part in str(caught.value)
    after = run.owners["optimizer"].state_dict()[f"{run.model.first.bias.name}_moment1_0"]
    assert after.tobytes() == before.tobytes()  # nothing was filled in


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    run = Run(OPTIMIZERS["Adam"])
    run.train(0, 1)
    saved(run, tmp_path)
    with pytest.raises(CheckpointError, match="first.weight moment1 is unknown to the optimizer"):
        restored(Run(OPTIMIZERS["SGD"]), tmp_path)


def test_an_optimizer_of_parameters_that_are_not_the_model_s_is_refused() -> None:
    other = paddle.nn.Linear(2, 3)
    with pytest.raises(StateError, match=r"updates '.*' \(shape \[2, 3\]\), which is no parameter of the model"):
        Run(lambda p: paddle.optimizer.SGD(0.1, parameters=[*p, *other.parameters()]))


def test_parameter_groups_go_on_exactly(tmp_path: Path) -> None:
    def grouped(parameters: list) -> Any:
        groups = [
            {"params": parameters[:2], "learning_rate": 0.5},
            {"params": parameters[2:], "weight_decay": 0.1},
        ]
        return paddle.optimizer.Momentum(0.05, parameters=groups)

    straight = Run(grouped)
    straight.train(0, 3)
    saved(straight, tmp_path)
    straight.train(3, 5)
    again = restored(Run(grouped), tmp_path)
    again.train(3, 5)
    assert again.bits() == straight.bits()


class Tied(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.first = paddle.nn.Linear(4, 4)
        self.second = paddle.nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.second(paddle.tanh(self.first(x)))


def test_tied_parameters_go_on_exactly_and_stay_tied(tmp_path: Path) -> None:
    straight = Run(OPTIMIZERS["Adam"], Tied())
    straight.train(0, 3)
    saved(straight, tmp_path)
    straight.train(3, 6)
    again = restored(Run(OPTIMIZERS["Adam"], Tied()), tmp_path)
    again.train(3, 6)
    assert again.bits() == straight.bits()
    assert again.model.first.weight is again.model.second.weight


def frozen_net() -> paddle.nn.Layer:
    model = Net()
    model.first.weight.stop_gradient = True
    model.second.bias.trainable = False
    return model


def test_frozen_parameters_stay_frozen_and_need_no_state(tmp_path: Path) -> None:
    straight = Run(OPTIMIZERS["Adam"], frozen_net())
    frozen = straight.bits()["first.weight"]
    straight.train(0, 3)
    saved(straight, tmp_path)
    names = load(tmp_path / "run_step3").tensors[".pdopt"]
    assert not any(name.startswith(f"{straight.model.first.weight.name}_") for name in names)
    straight.train(3, 6)
    again = restored(Run(OPTIMIZERS["Adam"], frozen_net()), tmp_path)
    again.train(3, 6)
    assert again.bits() == straight.bits()
    assert again.bits()["first.weight"] == frozen
    assert again.model.first.weight.stop_gradient


# ---------------------------------------------------------------- the model


def test_everything_that_does_not_fit_the_model_is_named_and_nothing_changed() -> None:
    model = Net()
    arrays = {name: tensor.numpy() + 1 for name, tensor in model.state_dict().items()}
    before = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    del arrays["first.bias"]
    arrays["third.bias"] = np.zeros(1, np.float32)
    arrays["second.weight"] = np.zeros((4, 5), np.float32)
    arrays["norm.weight"] = arrays["norm.weight"].astype(np.float64)
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, arrays, source="x.pdparams")
    for part in (
        "x.pdparams does not fit the model Net",
        "first.bias is missing in the file",
        "third.bias is unknown to the model",
        "second.weight has shape [4, 5] in the file and [4, 4] in the model",
        "norm.weight has dtype float64 in the file and float32 in the model",
        "Nothing was changed",
    ):
        assert part in str(caught.value)
    assert {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()} == before


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [[], [0, 2], [3]])
def test_a_buffer_of_any_type_and_shape_comes_back_bit_for_bit(dtype: str, shape: list[int], tmp_path: Path) -> None:
    def buffer(value: int) -> paddle.nn.Layer:
        model = paddle.nn.Linear(1, 1)
        model.register_buffer("mask", paddle.full(shape, value, "float32").astype(dtype))
        return model

    run = Run(OPTIMIZERS["SGD"], buffer(1))
    expected = run.bits()
    saved(run, tmp_path)
    again = restored(Run(OPTIMIZERS["SGD"], buffer(0)), tmp_path)
    assert again.bits() == expected
    assert again.model.mask.dtype == run.model.mask.dtype and list(again.model.mask.shape) == shape
    kind = load(tmp_path / "run_step3").tensors[".pdparams"]["mask"].dtype
    assert kind == ("uint16" if dtype == "bfloat16" else dtype)


def test_a_view_shows_the_tensor_s_own_memory_and_a_filled_tensor_owns_its_memory() -> None:
    tensor = paddle.zeros([3])
    source = np.arange(3, dtype=np.float32)
    fill(tensor, source)
    source[:] = 9
    assert tensor.numpy().tolist() == [0, 1, 2]
    other = paddle.ones([2])
    seen = view(other)
    other[0] = 5
    assert seen.tolist() == [5, 1]


# ---------------------------------------------------------------- the learning rate


def plateau() -> Any:
    return lr.ReduceOnPlateau(0.5, patience=1, factor=0.7, threshold=1e-3, cooldown=1)


SCHEDULERS = {
    "CosineAnnealingWarmRestarts": lambda: lr.CosineAnnealingWarmRestarts(0.5, T_0=3, T_mult=2),
    "LinearWarmup of PolynomialDecay": lambda: lr.LinearWarmup(
        lr.PolynomialDecay(0.5, decay_steps=6, end_lr=0.01, cycle=True), 3, 0.0, 0.5
    ),
    "LinearWarmup of CosineAnnealingWarmRestarts": lambda: lr.LinearWarmup(
        lr.CosineAnnealingWarmRestarts(0.5, T_0=2), 3, 0.0, 0.5
    ),
    "OneCycleLR": lambda: lr.OneCycleLR(0.5, total_steps=40),
    "CyclicLR": lambda: lr.CyclicLR(0.1, 0.5, step_size_up=3, mode="triangular2"),
    "MultiplicativeDecay": lambda: lr.MultiplicativeDecay(0.5, lambda step: 0.95),
    "LambdaDecay": lambda: lr.LambdaDecay(0.5, lambda step: 0.95**step),
    "MultiStepDecay": lambda: lr.MultiStepDecay(0.5, [2, 5]),
    "PiecewiseDecay": lambda: lr.PiecewiseDecay([2, 5], [0.5, 0.3, 0.1]),
    "NoamDecay": lambda: lr.NoamDecay(64, 5),
}


def owner_of(scheduler: Any) -> SchedulerState:
    parameters = paddle.nn.Linear(1, 1).parameters()
    return SchedulerState(paddle.optimizer.SGD(scheduler, parameters=parameters))


def rates(scheduler: Any, steps: int) -> list[float]:
    out = []
    for _ in range(steps):
        scheduler.step()
        out.append(scheduler())
    return out


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 8])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_goes_on_exactly_from_any_step(name: str, stop: int) -> None:
    straight, again = SCHEDULERS[name](), SCHEDULERS[name]()
    rates(straight, stop)
    state = decode_state(encode_state("scheduler", owner_of(straight).state_dict()))
    owner = owner_of(again)
    assert owner.differences(state) == []
    owner.set_state_dict(state)
    assert again() == straight()
    assert rates(again, 12) == rates(straight, 12)


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    "given",
    [float, np.float32, np.float64, lambda v: np.array([v], np.float32), lambda v: paddle.to_tensor(v, "float32")],
    ids=["float", "float32", "float64", "array", "tensor"],
)
def test_reduce_on_plateau_goes_on_exactly_whatever_kind_of_metric_it_is_given(
    given: Callable[[float], Any], stop: int
) -> None:
    # Differences around the threshold, where float32 and float64 decide otherwise.
    losses = [1.0, 0.999, 0.9990001, 0.998001, 0.998, 0.9970029, 0.997, 1.2, 0.9, 0.8991, 0.89910007, 0.8, 0.9, 0.9]

    def go_on(scheduler: Any, part: list[float]) -> list[float]:
        return [(scheduler.step(given(loss)), scheduler())[1] for loss in part]

    straight, again = plateau(), plateau()
    go_on(straight, losses[:stop])
    owner_of(again).set_state_dict(decode_state(encode_state("scheduler", owner_of(straight).state_dict())))
    assert type(again.best) is type(straight.best)
    assert again.num_bad_epochs == straight.num_bad_epochs
    assert go_on(again, losses[stop:]) == go_on(straight, losses[stop:])


def test_a_plateau_whose_best_is_an_array_is_written_for_stock_paddle_as_a_number(tmp_path: Path) -> None:
    scheduler = plateau()
    run = Run(lambda p: paddle.optimizer.Adam(scheduler, parameters=p))
    run.train(0, 1)
    scheduler.step(np.array([0.5], np.float32))
    prefix = saved(run, tmp_path)
    assert paddle.load(f"{prefix}.pdopt")["LR_Scheduler"]["best"] == 0.5


def test_what_a_schedule_was_given_is_compared_and_named() -> None:
    then = decode_state(
        encode_state("scheduler", owner_of(SCHEDULERS["LinearWarmup of PolynomialDecay"]()).state_dict())
    )
    now = owner_of(lr.LinearWarmup(lr.PolynomialDecay(0.5, 9, end_lr=0.02, cycle=True), 4, 0.0, 0.5))
    assert list(map(str, now.differences(then))) == [
        "learning rate learning_rate PolynomialDecay.decay_steps: 6 -> 9",
        "learning rate learning_rate PolynomialDecay.end_lr: 0.01 -> 0.02",
        "learning rate LinearWarmup.warmup_steps: 3 -> 4",
    ]
    assert list(map(str, owner_of(0.5).differences(then))) == ["learning rate scheduler: LinearWarmup -> float"]


def test_a_learning_rate_that_set_lr_moved_comes_back(tmp_path: Path) -> None:
    run = Run(OPTIMIZERS["Momentum"])
    run.train(0, 1)
    run.optimizer.set_lr(0.0125)
    saved(run, tmp_path)
    assert restored(Run(OPTIMIZERS["Momentum"]), tmp_path).optimizer.get_lr() == 0.0125


def test_another_learning_rate_is_a_difference_and_wins_when_it_is_accepted(tmp_path: Path) -> None:
    saved(Run(lambda p: paddle.optimizer.SGD(0.5, parameters=p)), tmp_path)

    def changed() -> Run:
        return Run(lambda p: paddle.optimizer.SGD(0.25, parameters=p))

    with pytest.raises(InexactResumeError, match=r"learning rate float\.value: 0\.5 -> 0\.25"):
        restored(changed(), tmp_path)
    assert restored(changed(), tmp_path, allow_inexact=True).optimizer.get_lr() == 0.25


def test_a_schedule_that_holds_what_cannot_be_saved_is_refused_by_name() -> None:
    scheduler = lr.StepDecay(0.1, 3)
    scheduler.helper = object()
    with pytest.raises(StateError, match="The scheduler StepDecay holds 'helper' of type object"):
        owner_of(scheduler).state_dict()
