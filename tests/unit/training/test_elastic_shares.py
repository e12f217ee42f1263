"""What an elastic run does with each share, and what it refuses by name before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from small_run import Kept, Points, net, train, trainer

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Precision, Processes, StepOptions, Trainer
from paddle_resume.builders.mesh import build_mesh
from paddle_resume.builders.run import build_run
from paddle_resume.config import load_config
from paddle_resume.data.batch import shares_of
from paddle_resume.data.feed import Feed
from paddle_resume.errors import ConfigError, DataError, InexactResumeError, StateError
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World


class Layer(paddle.nn.Layer):
    """A net for points whose forward pass also does `what`."""

    def __init__(self, what: Callable[[Any], object]) -> None:
        super().__init__()
        self.net = paddle.nn.Linear(8, 2)
        self.rng, self.calls, self.last = np.random.default_rng(0), 0, None
        self.register_buffer("seen", paddle.zeros([1]))
        self.what = what

    def forward(self, x: Any) -> Any:
        self.what(self)
        return self.net(x)


def replace_in_second_epoch(layer: Any) -> None:
    layer.seen.set_value(layer.seen + 1)
    if layer.seen.item() > 5:
        layer._buffers["seen"] = paddle.zeros([1])


IN_FORWARD: dict[str, Callable[[Any], object]] = {
    "model.rng.bit_generator is changed": lambda layer: layer.rng.random(),
    "model.calls is changed": lambda layer: setattr(layer, "calls", layer.calls + 1),
    "model.last is changed": lambda layer: setattr(layer, "last", paddle.ones([1])),
    "_buffers": lambda layer: layer.register_buffer("new", paddle.ones([1])),
    "model._buffers is changed": lambda layer: setattr(layer, "seen", layer.seen + 1),
    "has put another tensor in the place of seen": replace_in_second_epoch,
}


@pytest.mark.parametrize("said", IN_FORWARD)
def test_what_a_forward_pass_leaves_behind_is_refused_by_its_path(said: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, model=lambda: Layer(IN_FORWARD[said]), elastic=4)
    with pytest.raises(StateError, match=said):
        train(made)


def test_layers_that_reach_over_processes_or_have_sparse_gradients_are_refused(tmp_path: Path) -> None:
    layers = {
        "1 is a SyncBatchNorm": lambda: paddle.nn.Sequential(paddle.nn.Linear(8, 2), paddle.nn.SyncBatchNorm(2)),
        r"0 has sparse gradients \(Embedding\(sparse=True\)\)": lambda: paddle.nn.Sequential(
            paddle.nn.Embedding(8, 2, sparse=True)
        ),
    }
    for said, model in layers.items():
        with pytest.raises(ConfigError, match=said):
            train(trainer(tmp_path, model=model, elastic=2))
    assert not list(tmp_path.rglob("*.pdstates"))


def test_a_step_of_ones_own_and_a_mesh_are_refused() -> None:
    class Own(Trainer):
        def train_step(self, batch: Any) -> Any:
            return super().train_step(batch)

    model = net()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    with pytest.raises(StateError, match=r"Own.train_step makes its updates itself, and with Processes\(elastic=\)"):
        Own(model, optimizer, processes=Processes(elastic=2))
    mesh = object.__new__(DeviceMesh)
    with pytest.raises(ConfigError, match="leave out one of the two"):
        Trainer(model, optimizer, processes=Processes(mesh=mesh, elastic=2))
    served = Processes(elastic=2, exchange="server", world=World(0, 2))
    with pytest.raises(ConfigError, match=r"Precision\(dtype=.float16.\) each update settles the scale"):
        Trainer(model, optimizer, processes=served, step=StepOptions(precision=Precision("O1", "float16")))
    with pytest.raises(ConfigError, match="LBFGS computes gradients again and again"):
        Trainer(model, paddle.optimizer.LBFGS(parameters=model.parameters()), processes=served)
    for count in (0, 3, 2.0, True, "4"):
        with pytest.raises(ConfigError, match="expected a power of two"):
            Trainer(model, optimizer, processes=Processes(elastic=count))  # type: ignore[arg-type]


def test_a_config_says_what_does_not_go_together() -> None:
    start = ["run.name=small", "run.device=cpu", "data.name=mnist"]
    with pytest.raises(ConfigError, match=r"parallel.elastic.*a power of two such as 4, or null"):
        load_config("mnist", [*start, "parallel.elastic=3"])
    config = load_config("mnist", [*start, "parallel.elastic=2", "parallel.sync_batch_norm=true"])
    with pytest.raises(ConfigError, match="whose mean is kept: set it to false"):
        build_run(config)
    config = load_config("mnist", [*start, "parallel.elastic=2", "parallel.mesh={data: 1, model: 1}"])
    with pytest.raises(ConfigError, match="parallel.elastic does not work with parallel.mesh"):
        build_mesh(config, World())


def test_a_resume_with_other_shares_or_none_is_refused_in_the_terms_of_python(tmp_path: Path) -> None:
    train(trainer(tmp_path, elastic=4), epochs=1)
    for elastic in (2, None):
        with pytest.raises(InexactResumeError, match=rf"elastic: 4 -> {elastic} .*Processes\(elastic=\)"):
            train(trainer(tmp_path, elastic=elastic), epochs=2)


def test_a_step_is_the_mean_over_all_samples_with_clipping_and_without(tmp_path: Path) -> None:
    """With one share for all, and with shares of which some are empty, a net without draws learns what it learns."""
    learnt = {}
    for elastic in (None, 1, 2, 8, 16):
        made = trainer(tmp_path / str(elastic), model=lambda: paddle.nn.Linear(8, 2), elastic=elastic)
        learnt[elastic] = train(made, global_batch_size=9).model.weight.numpy()
    for elastic, weight in learnt.items():
        np.testing.assert_allclose(weight, learnt[None], rtol=0, atol=1e-6, err_msg=str(elastic))


def test_what_python_and_numpy_draw_in_a_pass_is_drawn_by_the_share(tmp_path: Path) -> None:
    class Drawing(Kept):
        derived_attributes = ("drawn",)
        drawn: list[float]

        def compute_loss(self, batch: Any) -> Any:
            self.drawn.append(float(np.random.random()))
            return super().compute_loss(batch)

    def run(folder: Path) -> list[float]:
        paddle_resume.seed_everything(1)
        model = net()
        optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
        made = Drawing(model, optimizer, loss=paddle.nn.CrossEntropyLoss(), save_dir=folder, seed=3,
                       processes=Processes(elastic=2))  # fmt: skip
        made.told, made.drawn = [], []
        train(made, epochs=1)
        return made.drawn

    first = run(tmp_path / "one")
    tried = 3  # First samples of train, valid and test, before the run.
    assert len(set(first[tried : tried + 10])) == 10 and run(tmp_path / "two") == first


def test_what_differs_by_the_rank_cannot_be_saved() -> None:
    from paddle_resume.found_state.alike import found_alike

    clock = ["clock", "time", 3.0, False]
    found_alike([({"moved": {"a": clock}}, {}), ({"moved": {"a": ["clock", "time", 4.0, False]}}, {})])
    with pytest.raises(StateError, match=r"callback.Mine.count is another in rank 1 than in rank 0"):
        found_alike([({"moved": {"callback.Mine.count": 1}}, {}), ({"moved": {"callback.Mine.count": 2}}, {})])
    with pytest.raises(StateError, match=r"model.table is another in rank 2"):
        same: Any = ({"moved": {}}, {"model.table": np.zeros(2)})
        found_alike([same, same, ({"moved": {}}, {"model.table": np.ones(2)})])


def test_beside_a_parameter_server_only_what_lies_in_the_model_may_differ_from_the_others() -> None:
    from paddle_resume.found_state.alike import found_alike

    def record(**moved: Any) -> Any:
        return {"moved": moved}

    server = (record(**{"model.1": {"values": [["#", 0]]}, "metric": {"values": [["#", 1]]}}), {"x": np.ones(2)})
    trainer = (record(metric={"values": [["#", 3]]}), {"x": np.ones(2), "model.w": np.zeros(1)})
    first, arrays = found_alike([server, trainer, trainer], has_server=True)
    assert first is trainer[0] and arrays is trainer[1]
    with pytest.raises(StateError, match="x is another in rank 1 than in rank 0"):
        found_alike([server, (trainer[0], {})], has_server=True)
    with pytest.raises(StateError, match="callback.Mine is another in rank 1 than in rank 0"):
        found_alike([(record(**{"callback.Mine": 1}), {}), (record(), {})], has_server=True)
    with pytest.raises(StateError, match="model.1 is another in rank 2 than in rank 1"):
        found_alike([server, trainer, (record(**trainer[0]["moved"], **{"model.1": 2}), trainer[1])], has_server=True)
    with pytest.raises(StateError, match=r"optimizer.calls is moved by updates, .* only rank 0 makes them"):
        found_alike([(record(**{"optimizer.calls": 1}), {}), (record(), {})], has_server=True)


class Named(Points):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"input": x, "label": y}


def test_samples_that_are_dicts_are_cut_into_shares() -> None:
    whole = Feed(Named(), batch_size=10, seed=1, shares=4)
    sizes = []
    for batch in whole.remaining():
        shares = shares_of(batch, range(4), 4)
        sizes += [(share.local_size, *share["input"].shape) for share in shares.values()]
    assert sizes == [(2, 2, 8), (3, 3, 8)] * 8
    named = next(iter(Feed(Named(), batch_size=10, seed=1).remaining()))
    cut = shares_of(named, range(4), 4)
    assert [cut[index].label.shape[0] for index in range(4)] == [2, 3, 2, 3]
    assert (paddle.concat([cut[index]["input"] for index in range(4)]) == named["input"]).all()


def test_a_sampler_for_so_many_processes_is_refused_and_any_other_is_cut() -> None:
    points = Points()
    for replicas, rank in ((2, 0), (2, 1)):
        sampler = paddle.io.DistributedBatchSampler(points, 5, num_replicas=replicas, rank=rank)
        with pytest.raises(DataError, match="DistributedBatchSampler draws its order for 2 processes"):
            Feed(points, seed=1, sampler=sampler, shares=4, size=2)
    alone = paddle.io.DistributedBatchSampler(points, 10, num_replicas=1, rank=0, shuffle=True)
    orders = []
    for size in (1, 2, 4):
        feeds = [Feed(points, seed=1, sampler=alone, shares=4, rank=rank, size=size) for rank in range(size)]
        keys = [[b"".join(s.key for s in shares_of(b, range(4), 4).values()) for b in f.remaining()] for f in feeds]
        orders.append([b"".join(parts) for parts in zip(*keys)])
    assert len(orders[0]) == 4 and orders[0] == orders[1] == orders[2]


def test_a_sample_that_a_step_cannot_take_is_named_by_its_index(tmp_path: Path) -> None:
    class Odd(Points):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x, y + 7 if index == 23 else y

    made = trainer(tmp_path, elastic=4)
    with pytest.raises(DataError, match=r"dataset\[23\] cannot go through model and loss: its label is [78]"):
        made.train(Odd(), epochs=1, global_batch_size=16)


def test_a_trial_and_the_first_lines_of_an_elastic_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = net()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    options: dict[str, Any] = {"loss": paddle.nn.CrossEntropyLoss(), "save_dir": tmp_path, "logger": None}
    made = Trainer(model, optimizer, processes=Processes(elastic=4), **options)
    made.trial(Points(), global_batch_size=10)
    made.train(Points(), global_batch_size=10)
    assert "4 shares of at most 3 samples, 1 process" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r'Processes\(exchange=.pair.\).*did you mean "pairs"'):
        Processes(exchange="pair")
