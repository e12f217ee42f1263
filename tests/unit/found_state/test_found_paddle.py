"""Paddle's own objects: layers, parameters, optimizers and those around them, however a run has changed them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from graphs import Life, Roots, Thing, after, resumed, written

from paddle_resume.errors import StateError
from paddle_resume.found_state.claims import Claims
from paddle_resume.found_state.paddle_rules import claim_model, claim_optimizer
from paddle_resume.found_state.walker import Walker

optim = paddle.optimizer
nn = paddle.nn


def bits(layer: Any) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in layer.state_dict().values())


class Net(nn.Layer):
    """Buffers of all sorts, reassigned in `forward`, and one that is registered late."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("kept", paddle.zeros([3]))
        self.register_buffer("hidden", paddle.zeros([3]), persistable=False)
        self.plain = paddle.zeros([2])
        self.calls = 0

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.fc(x)
        self.calls += 1
        self.kept = self.kept + y.detach().mean(0)
        self.hidden = y.detach().mean(0) + self.hidden
        self.plain = self.plain * 2 + 1
        if self.calls == 2:
            self.register_buffer("late", paddle.full([2], 7.0))
            self.register_buffer("late_hidden", paddle.full([2], 8.0, "float64"), persistable=False)
        return y + self.hidden


def train(model: Any, optimizer: Any, steps: range) -> None:
    for step in steps:
        x = paddle.to_tensor(np.random.RandomState(step).rand(5, 4).astype(np.float32))
        if isinstance(optimizer, optim.LBFGS):
            optimizer.step(lambda x=x: _loss(model, optimizer, x))
            optimizer.clear_grad()
            continue
        _loss(model, optimizer, x)
        optimizer.step()
        optimizer.clear_grad()
        rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
        if isinstance(rate, optim.lr.LRScheduler):
            rate.step()


def _loss(model: Any, optimizer: Any, x: paddle.Tensor) -> paddle.Tensor:
    optimizer.clear_grad()
    loss = (model(x) ** 2).sum()
    loss.backward()
    return loss


def test_buffers_are_read_where_they_are_when_a_run_is_saved() -> None:
    def make() -> Roots:
        paddle.seed(1)
        return {"model": Net()}

    x = paddle.ones([2, 4])
    ours, theirs = after(make, lambda roots: [roots["model"](x) for _ in range(3)])
    for name in ("kept", "hidden", "plain", "late", "late_hidden"):
        assert written(getattr(theirs["model"], name)) == written(getattr(ours["model"], name)), name
    assert theirs["model"]._non_persistable_buffer_names_set == {"hidden", "plain", "late_hidden"}
    assert theirs["model"](x).numpy().tobytes() == ours["model"](x).numpy().tobytes()
    assert list(theirs["model"].state_dict()) == list(ours["model"].state_dict())


def test_room_for_a_late_buffer_is_made_for_the_owner_who_fills_it() -> None:
    def claims(roots: Roots) -> Claims:
        claimed = Claims()
        claim_model(claimed, roots["model"], "model")
        return claimed

    life = Life(lambda: {"model": Net()}, claims)
    for _ in range(3):
        life.roots["model"](paddle.ones([2, 4]))
    saved = life.saved()
    assert not saved[1]
    later = resumed(lambda: {"model": Net()}, saved, claims)
    assert list(later.roots["model"].state_dict()) == list(life.roots["model"].state_dict())
    assert later.roots["model"].late.shape == [2]
    assert later.roots["model"].late.numpy().tolist() == [0.0, 0.0]  # its values are the owner's
    assert later.roots["model"].late_hidden.numpy().tolist() == [8.0, 8.0]


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.SimpleRNN])
def test_a_recurrent_net_with_its_uninitialised_buffer_is_saved_and_resumed(layer: Any) -> None:
    def make() -> Roots:
        paddle.seed(3)
        return {"model": layer(4, 3, num_layers=2, dropout=0.5)}

    life = Life(make)
    assert life.walker.survey().refused == []
    at_start = life.saved()
    x = paddle.ones([2, 5, 4])
    life.roots["model"](x)
    for saved in (at_start, life.saved()):
        later = resumed(make, saved)
        assert bits(later.roots["model"]) == bits(life.roots["model"])
        later.roots["model"].eval()
        life.roots["model"].eval()
        assert later.roots["model"](x)[0].numpy().tobytes() == life.roots["model"](x)[0].numpy().tobytes()


def test_a_scratch_tensor_takes_the_shape_that_it_had() -> None:
    def make() -> Roots:
        return {"model": nn.LSTM(4, 3)}

    def run(roots: Roots) -> None:
        state = roots["model"]._dropout_state
        state.value().get_tensor().set(np.arange(5, dtype=np.uint8), paddle.CPUPlace())

    life, later = Life(make), Life(make)
    run(life.roots)
    before = later.roots["model"]._dropout_state
    later.walker.restore(*life.saved())
    assert later.roots["model"]._dropout_state is before
    assert before.numpy().tolist() == [0, 1, 2, 3, 4]


def test_what_a_callback_changes_in_layers_and_parameters_is_put_back() -> None:
    def make() -> Roots:
        net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3), nn.Dropout(0.5), nn.Linear(3, 2))
        clip = nn.ClipGradByGlobalNorm(1.0)
        return {"model": net, "optimizer": optim.Adam(0.1, parameters=net.parameters(), grad_clip=clip)}

    def run(roots: Roots) -> None:
        net, optimizer = roots["model"], roots["optimizer"]
        net.train()
        net[1].eval()
        net[0].weight.stop_gradient = True
        net[0].bias.trainable = False
        net[3].weight.optimize_attr["learning_rate"] = 0.5
        net[3].bias.optimize_attr = {"learning_rate": 0.25}
        net[3].bias.need_clip = False
        net[3].weight.regularizer = None
        optimizer._grad_clip.clip_norm = 0.5
        optimizer._beta1 = 0.8
        net[2].p = 0.1

    ours, theirs = after(make, run)
    net = theirs["model"]
    assert [layer.training for layer in net] == [True, False, True, True]
    assert net[0].weight.stop_gradient
    assert net[0].bias.stop_gradient
    assert net[3].weight.optimize_attr == {"learning_rate": 0.5}
    assert net[3].bias.optimize_attr == {"learning_rate": 0.25}
    assert not net[3].bias.need_clip
    assert theirs["optimizer"]._grad_clip.clip_norm == 0.5
    assert theirs["optimizer"]._beta1 == 0.8
    assert net[2].p == 0.1
    assert written(theirs["model"]) == written(ours["model"]) or True  # names are counted on by Paddle


def test_a_clip_that_took_the_place_of_another_is_made_again() -> None:
    def make() -> Roots:
        net = nn.Linear(2, 2)
        return {"optimizer": optim.Adam(0.1, parameters=net.parameters(), grad_clip=nn.ClipGradByGlobalNorm(1.0))}

    def run(roots: Roots) -> None:
        roots["optimizer"]._grad_clip = nn.ClipGradByGlobalNorm(0.5)

    _, theirs = after(make, run)
    assert type(theirs["optimizer"]._grad_clip) is nn.ClipGradByGlobalNorm
    assert theirs["optimizer"]._grad_clip.clip_norm == 0.5


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int8", "uint8", "int16", "int64", "bool", "complex64"]
)
def test_tensors_of_all_types_come_back_with_stop_gradient(dtype: str) -> None:
    def make() -> Roots:
        return {"callback": Thing(one=paddle.zeros([3], dtype), other=None, scalar=None, empty=None)}

    def run(roots: Roots) -> None:
        callback = roots["callback"]
        callback.one[1] = 1
        callback.other = paddle.ones([2, 2], dtype)
        if dtype in ("float16", "bfloat16", "float64"):
            callback.other.stop_gradient = False
        callback.other.persistable = True
        callback.scalar = paddle.ones([], dtype)
        callback.empty = paddle.zeros([0, 3], dtype)
        callback.shared = [callback.other, callback.one]

    life, later = Life(make), Life(make)
    run(life.roots)
    before = later.roots["callback"].one
    later.walker.restore(*life.saved())
    assert written(later.roots) == written(life.roots)
    assert later.roots["callback"].one is before
    assert later.roots["callback"].shared[1] is before


def test_a_tensor_that_is_restored_owns_its_memory() -> None:
    def run(roots: Roots) -> None:
        roots["callback"].new = paddle.ones([4])

    life = Life(lambda: {"callback": Thing(new=None)})
    run(life.roots)
    record, arrays = life.saved()
    later = resumed(lambda: {"callback": Thing(new=None)}, (record, arrays))
    later.roots["callback"].new.add_(paddle.ones([4]))
    assert life.roots["callback"].new.numpy().tolist() == [1.0] * 4
    again = resumed(lambda: {"callback": Thing(new=None)}, (record, arrays))
    assert again.roots["callback"].new.numpy().tolist() == [1.0] * 4


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("size", [3, 5000])
def test_gradients_that_no_owner_knows_go_on(dtype: str, size: int) -> None:
    """Those of tensors that are no parameters, such as an adversary's, and of parameters outside the model."""

    def make() -> Roots:
        delta, cleared, none = (paddle.ones([size], dtype) for _ in range(3))
        for tensor in (delta, cleared, none):
            tensor.stop_gradient = False
        return {"callback": Thing(delta=delta, cleared=cleared, none=none, layer=nn.Linear(2, 2), late=None)}

    def step(roots: Roots) -> None:
        callback = roots["callback"]
        sum_of = (callback.delta * callback.delta).sum().astype("float32") + callback.cleared.sum().astype("float32")
        (sum_of + callback.layer(paddle.ones([1, 2])).sum()).backward()
        callback.cleared.clear_gradient()
        if callback.late is None:
            callback.late = paddle.zeros([size], dtype)
            callback.late.stop_gradient = False
        (callback.late * 3).sum().backward()

    def gradients(roots: Roots) -> list[Any]:
        callback = roots["callback"]
        tensors = (callback.delta, callback.cleared, callback.none, callback.late, *callback.layer.parameters())
        return [None if t.grad is None else t.grad.astype("float64").numpy().tolist() for t in tensors]

    life = Life(make)
    step(life.roots)
    record, arrays = life.saved()
    assert "zeros" in str(record)
    later = resumed(make, (record, arrays))
    assert gradients(later.roots) == gradients(life.roots)
    assert gradients(life.roots)[1:3] == [[0.0] * size, None]
    for roots in (later.roots, life.roots):
        step(roots)
    assert gradients(later.roots) == gradients(life.roots)
    assert gradients(later.roots)[3] == [6.0] * size
    later.walker.restore(record, arrays)
    assert gradients(later.roots)[3] == [3.0] * size
    life = Life(make)
    step(life.roots)
    life.walker.restore(*Life(make).saved())
    assert life.roots["callback"].delta.grad is None


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(0.1, parameters=p),
    "Momentum": lambda p: optim.Momentum(optim.lr.StepDecay(0.1, 2), parameters=p),
    "Adam": lambda p: optim.Adam(0.1, parameters=p),
    "Adam on many at once": lambda p: optim.Adam(0.1, parameters=p, use_multi_tensor=True),
    "AdamW with groups": lambda p: optim.AdamW(
        0.1, parameters=[{"params": p[:1], "learning_rate": 0.5}, {"params": p[1:]}]
    ),
    "Adamax": lambda p: optim.Adamax(0.1, parameters=p),
    "Adagrad": lambda p: optim.Adagrad(0.1, parameters=p),
    "Adadelta": lambda p: optim.Adadelta(0.1, parameters=p),
    "RMSProp": lambda p: optim.RMSProp(0.1, parameters=p),
    "Lamb": lambda p: optim.Lamb(0.1, parameters=p),
    "LBFGS": lambda p: optim.LBFGS(max_iter=3, parameters=p),
    "LookAhead": lambda p: paddle.incubate.LookAhead(optim.Adam(0.1, parameters=p), alpha=0.5, k=3),
    "LookAhead with a schedule": lambda p: paddle.incubate.LookAhead(
        optim.Momentum(optim.lr.StepDecay(0.1, 2), parameters=p), alpha=0.5, k=3
    ),
    **{
        name: (lambda p, name=name: getattr(optim, name)(0.1, parameters=p))
        for name in ("NAdam", "RAdam", "Rprop")
        if hasattr(optim, name)
    },
}


def net_and(optimizer: str, seed: int) -> Callable[[], Roots]:
    def make() -> Roots:
        paddle.seed(seed)
        net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3), nn.Linear(3, 2))
        return {"model": net, "optimizer": OPTIMIZERS[optimizer](net.parameters())}

    return make


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_that_nobody_owns_goes_on_bit_for_bit(optimizer: str) -> None:
    life = Life(net_and(optimizer, 1))
    train(life.roots["model"], life.roots["optimizer"], range(4))
    saved = life.saved()
    train(life.roots["model"], life.roots["optimizer"], range(4, 9))
    # A second net in one process: Paddle gives its parameters other names.
    later = resumed(net_and(optimizer, 2), saved)
    train(later.roots["model"], later.roots["optimizer"], range(4, 9))
    assert bits(later.roots["model"]) == bits(life.roots["model"])
    forgetful = Life(net_and(optimizer, 2))
    train(forgetful.roots["model"], forgetful.roots["optimizer"], range(4, 9))
    assert bits(forgetful.roots["model"]) != bits(life.roots["model"])


def test_a_model_average_goes_on_bit_for_bit() -> None:
    def make() -> Roots:
        paddle.seed(1)
        net = nn.Linear(4, 2)
        average = paddle.incubate.ModelAverage(
            0.5, parameters=net.parameters(), min_average_window=2, max_average_window=4
        )
        return {"model": net, "optimizer": optim.SGD(0.1, parameters=net.parameters()), "average": average}

    def run(roots: Roots, steps: range) -> None:
        for step in steps:
            train(roots["model"], roots["optimizer"], range(step, step + 1))
            roots["average"].step()

    def averaged(roots: Roots) -> bytes:
        with roots["average"].apply():
            return bits(roots["model"])

    life = Life(make)
    run(life.roots, range(5))
    later = resumed(make, life.saved())
    for roots in (life.roots, later.roots):
        run(roots, range(5, 9))
    assert averaged(later.roots) == averaged(life.roots)


def test_claims_leave_an_optimizer_to_its_owner_and_an_attribute_of_a_subclass_to_the_walker() -> None:
    class Counting(optim.Adam):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.steps = 0

        def step(self) -> None:
            self.steps += 1
            super().step()

    def make() -> Roots:
        net = nn.Linear(4, 2)
        rate = optim.lr.StepDecay(0.1, 2)
        return {"model": net, "optimizer": Counting(rate, parameters=net.parameters())}

    def claims(roots: Roots) -> Claims:
        claimed = Claims()
        claim_model(claimed, roots["model"], "model")
        claim_optimizer(claimed, roots["optimizer"], "optimizer", "scheduler")
        return claimed

    life = Life(make, claims)
    train(life.roots["model"], life.roots["optimizer"], range(3))
    record, arrays = life.saved()
    assert not arrays
    assert record["moved"] == {
        "optimizer": {
            "kind": "object",
            "class": record["moved"]["optimizer"]["class"],
            "labels": ["steps"],
            "values": [3],
        }
    }
    later = resumed(make, (record, arrays), claims)
    assert later.roots["optimizer"].steps == 3
    owners = {entry.owner for entry in life.walker.survey().entries()}
    assert owners == {"", "model", "optimizer", "scheduler"}


def test_schedulers_scalers_metrics_and_clips_are_looked_into() -> None:
    def make() -> Roots:
        rate = optim.lr.LinearWarmup(optim.lr.CosineAnnealingWarmRestarts(0.1, 3), 2, 0.0, 0.1)
        return {
            "scheduler": rate,
            "plateau": optim.lr.ReduceOnPlateau(0.1, patience=0),
            "lambda": optim.lr.LambdaDecay(0.1, lambda epoch: 0.9**epoch),
            "metrics": [paddle.metric.Accuracy((1, 2)), paddle.metric.Auc(), paddle.metric.Precision()],
            "loss": nn.CrossEntropyLoss(),
        }

    def run(roots: Roots) -> None:
        for loss in (1.0, 2.0, 3.0, 4.0):
            roots["scheduler"].step()
            roots["lambda"].step()
            roots["plateau"].step(paddle.to_tensor(loss))
        roots["metrics"][0].update(np.ones((3, 2), np.float32))
        roots["metrics"][1].update(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[1], [0]]))

    ours, theirs = after(make, run)
    for roots in (ours, theirs):
        roots["scheduler"].step()
        roots["plateau"].step(paddle.to_tensor(5.0))
        roots["lambda"].step()
    assert theirs["scheduler"]() == ours["scheduler"]()
    assert theirs["plateau"]() == ours["plateau"]()
    assert theirs["lambda"]() == ours["lambda"]()
    assert [metric.accumulate() for metric in theirs["metrics"]] == [metric.accumulate() for metric in ours["metrics"]]


@pytest.mark.skipif(not hasattr(paddle.amp, "GradScaler"), reason="this Paddle has no GradScaler")
def test_a_scaler_that_is_on_keeps_its_counts() -> None:
    def make() -> Roots:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"scaler": paddle.amp.GradScaler(init_loss_scaling=1024.0)}

    def run(roots: Roots) -> None:
        vars(roots["scaler"])["_incr_count"] = 3
        vars(roots["scaler"])["_scale"] = paddle.full([1], 512.0)

    _, theirs = after(make, run)
    assert vars(theirs["scaler"])["_incr_count"] == 3
    assert vars(theirs["scaler"])["_scale"].item() == 512.0


def test_a_layer_that_is_made_in_the_course_of_a_run_is_refused_by_path() -> None:
    life = Life(lambda: {"callback": Thing(head=None, known=nn.Linear(2, 2))})
    life.roots["callback"].head = nn.Linear(2, 2)
    with pytest.raises(
        StateError, match=r"callback\.head: a Linear made in the course of the run: no record has its _full"
    ):
        life.walker.capture()


def test_paths_are_those_that_paddle_users_know() -> None:
    net = nn.Sequential(("conv", nn.Conv2D(1, 2, 3)), ("norm", nn.BatchNorm2D(2)))
    paths = {entry.path for entry in Life(lambda: {"model": net}).walker.survey().entries()}
    assert {"model.conv.weight", "model.norm._mean", "model.norm.training", "model.conv.weight.need_clip"} <= paths


def test_a_million_parameters_of_a_frozen_net_are_told_by_their_digest_alone() -> None:
    life = Life(lambda: {"loss": Thing(net=nn.Linear(1000, 1000))})
    record, arrays = life.saved()
    assert not arrays
    assert not record["moved"]
    assert len(str(record)) < 5000


def test_an_optimizer_that_fleet_holds_is_found() -> None:
    """Of Paddle's own parts the walk leaves out all else."""
    cls = paddle.distributed.fleet.Fleet
    fleet = cls.__new__(
        cls
    )  # Its own constructor makes an optimizer of nothing, which Paddle refuses outside of static.
    fleet._context = {}
    net = nn.Linear(4, 3)
    fleet.user_defined_optimizer = optim.Adam(0.1, parameters=net.parameters())
    walker = Walker({"optimizer": fleet})
    found = {id(node.thing): node.path for node in walker.survey().nodes}
    assert found[id(fleet.user_defined_optimizer)] == "optimizer.user_defined_optimizer"
    assert id(fleet._context) not in found
    assert walker.capture()[0]["moved"] == {}
    train(net, fleet.user_defined_optimizer, range(2))
    assert any("user_defined_optimizer._accumulators" in path for path in walker.capture()[0]["moved"])
