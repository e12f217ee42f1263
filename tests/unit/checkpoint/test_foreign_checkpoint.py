"""Checkpoints that other programs saved: bound by name, nothing guessed in silence, and none of ours unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import StepOptions, Trainer
from paddle_resume.checkpoint import foreign_restore
from paddle_resume.checkpoint.foreign_position import foreign_position
from paddle_resume.checkpoint.reader import load
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.cli import main
from paddle_resume.errors import CheckpointError, InexactResumeError
from paddle_resume.owners.tensor_views import view
from paddle_resume.training.save_schedule import SaveSchedule

STEPS = 3  # Batches an epoch of `Points`.


class Points(paddle.io.Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.array([index, 1.0], np.float32), np.array([2.0 * index], np.float32)


class Net(paddle.nn.Layer):
    """Two layers of one shape, which only their names tell apart, and running statistics."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.first = paddle.nn.Linear(2, width)
        self.norm = paddle.nn.BatchNorm1D(width)
        self.second = paddle.nn.Linear(width, 2)
        self.third = paddle.nn.Linear(2, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.third(self.second(self.norm(self.first(x))))


def trained(steps: int = 4, rate: Any = 0.01, net: Any = None, optimizer: Any = None) -> tuple[Any, Any]:
    """A model and its optimizer after some steps of a plain loop, as another program would make them."""
    model = net or Net()
    optimizer = optimizer or paddle.optimizer.Adam(rate, parameters=model.parameters())
    for step in range(steps):
        loss = model(
            paddle.to_tensor(np.full((4, 2), step + 1.0, np.float32) * np.arange(4, dtype=np.float32)[:, None])
        )
        (loss**2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        if not isinstance(rate, float):
            rate.step()
    return model, optimizer


def store(prefix: Path, model: Any, optimizer: Any, states: Any = None, protocol: int = 4) -> Path:
    paddle.save(model.state_dict(), f"{prefix}.pdparams", protocol=protocol)
    paddle.save(optimizer.state_dict(), f"{prefix}.pdopt", protocol=protocol)
    if states is not None:
        paddle.save(states, f"{prefix}.pdstates", protocol=protocol)
    return prefix


def make_trainer(folder: Path, rate: Any = 0.01, net: Any = None, optimizer: Any = paddle.optimizer.Adam) -> Trainer:
    paddle_resume.seed_everything(1)
    paddle.nn.Linear(3, 3)  # So that Paddle's own names are others than in the files.
    model = net or Net()
    return Trainer(
        model,
        optimizer(rate, parameters=model.parameters()),
        loss=paddle.nn.MSELoss(),
        save_dir=folder / "ours",
        name="run",
        schedule=SaveSchedule(every_epochs=1, background=False),
    )


def resume(
    trainer: Trainer, prefix: Path, *, allow: bool = True, epochs: int = 9, max_steps: int | None = 0
) -> Trainer:
    """Go on from `prefix` without making a step."""
    trainer.train(
        Points(), epochs=epochs, max_steps=max_steps, global_batch_size=4, resume=str(prefix), allow_inexact=allow
    )
    return trainer


def slots(model: Any, optimizer: Any) -> dict[str, np.ndarray]:
    """The optimizer's tensors by structured name and slot."""
    return {
        f"{name} {slot}": view(by_parameter[parameter.name]).copy()
        for name, parameter in model.named_parameters()
        for slot, by_parameter in optimizer._accumulators.items()
        if parameter.name in by_parameter
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys() and one
    for key, array in one.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other[key]), err_msg=key)


def took_over(trainer: Trainer, model: Any, optimizer: Any) -> None:
    """The trainer has the weights and the optimizer state of the two, bit for bit."""
    same(
        {k: v.numpy() for k, v in trainer.model.state_dict().items()},
        {k: v.numpy() for k, v in model.state_dict().items()},
    )
    same(slots(trainer.model, trainer.optimizer), slots(model, optimizer))


def differences(trainer: Trainer) -> list[str]:
    assert trainer.restored is not None
    return list(map(str, trainer.restored.differences))


# ---------------------------------------------------------------- what comes in


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_checkpoint_of_paddle_s_tutorial_is_gone_on_from(protocol: int, tmp_path: Path) -> None:
    model, optimizer = trained()
    prefix = store(tmp_path / "mnist_epoch3", model, optimizer, protocol=protocol)
    trainer = resume(make_trainer(tmp_path), prefix)
    took_over(trainer, model, optimizer)
    assert (trainer.epoch, trainer.is_between_epochs) == (3, True)
    assert trainer.step == 4 * STEPS
    assert f"position: not saved exactly -> 4 epochs done, {4 * STEPS} steps, by the name mnist_epoch3" in differences(
        trainer
    )


def test_without_allow_inexact_all_that_is_unknown_is_listed_and_nothing_is_changed(tmp_path: Path) -> None:
    prefix = store(tmp_path / "mnist_epoch3", *trained())
    with pytest.raises(InexactResumeError) as caught:
        resume(make_trainer(tmp_path), prefix, allow=False)
    assert not list((tmp_path / "ours").glob("*.pd*"))
    listed = differences(resume(make_trainer(tmp_path), prefix))
    assert "; ".join(listed) in str(caught.value)
    for name in ("environment", "metrics", "settings", "evaluation", "rng", "scheduler"):
        assert f"state of {name!r}: not saved -> as at this start" in listed
    for name in ("names", "progress", "data", "model", "optimizer"):
        assert not any(f"'{name}'" in line for line in listed)
    fresh = make_trainer(tmp_path)
    before = {k: v.numpy() for k, v in fresh.model.state_dict().items()}
    with pytest.raises(InexactResumeError):
        resume(fresh, prefix, allow=False)
    same({k: v.numpy() for k, v in fresh.model.state_dict().items()}, before)


def test_the_lineage_tells_that_and_why_it_is_inexact(tmp_path: Path) -> None:
    prefix = store(tmp_path / "mnist_epoch0", *trained())
    trainer = resume(make_trainer(tmp_path), prefix, epochs=2, max_steps=None)
    record = load(tmp_path / "ours" / "run_epoch1").record
    assert not record.exact and record.step == 2 * STEPS
    assert [event["event"] for event in record.lineage] == ["start", "resume"]
    assert record.lineage[1]["from"] == "mnist_epoch0"
    assert record.lineage[1]["differences"] == differences(trainer)
    again = make_trainer(tmp_path)
    again.train(Points(), epochs=2, global_batch_size=4)
    assert again.restored is not None and not again.restored.differences


def test_it_goes_on_as_the_plain_loop_would_have(tmp_path: Path) -> None:
    """The negative control to binding by name: the next update is that of the state in the files."""
    rate = paddle.optimizer.lr.StepDecay(0.1, 2)
    model, optimizer = trained(STEPS, rate)
    prefix = store(tmp_path / "x_epoch0", model, optimizer)
    trainer = resume(make_trainer(tmp_path, paddle.optimizer.lr.StepDecay(0.1, 2)), prefix)
    assert trainer.learning_rate == optimizer.get_lr() != 0.1
    for net, adam in ((trainer.model, trainer.optimizer), (model, optimizer)):
        net.train()
        net(paddle.ones([4, 2])).sum().backward()
        adam.step()
    took_over(trainer, model, optimizer)


@pytest.mark.parametrize("as_list", [False, True])
def test_a_checkpoint_of_paddleclas_is_gone_on_from(as_list: bool, tmp_path: Path) -> None:
    rate = paddle.optimizer.lr.PolynomialDecay(0.1, 100)
    model, optimizer = trained(2 * STEPS, rate)
    prefix = store(tmp_path / "epoch_2", model, optimizer, {"epoch": 2, "metric": 0.5, "acc": paddle.to_tensor([1.0])})
    if as_list:  # as 2.6 writes it
        paddle.save([optimizer.state_dict()], f"{prefix}.pdopt")
    trainer = resume(make_trainer(tmp_path, paddle.optimizer.lr.PolynomialDecay(0.1, 100)), prefix)
    took_over(trainer, model, optimizer)
    assert (trainer.epoch + 1, trainer.step) == (2, 2 * STEPS)
    assert trainer.learning_rate == optimizer.get_lr()
    listed = differences(trainer)
    assert ".pdstates metric: saved -> nobody here owns it" in listed
    assert f"position: not saved exactly -> 2 epochs done, {2 * STEPS} steps, by epoch 2 in epoch_2.pdstates" in listed


@pytest.mark.parametrize("steps", [STEPS, STEPS + 1])
def test_a_checkpoint_of_hapi_s_fit_is_gone_on_from(steps: int, tmp_path: Path) -> None:
    net = Net()
    rate = paddle.optimizer.lr.StepDecay(0.1, 2)
    model = paddle.Model(net)
    optimizer = paddle.optimizer.Adam(rate, parameters=net.parameters())
    model.prepare(optimizer, paddle.nn.MSELoss())
    model.fit(Points(), batch_size=4, epochs=2, save_dir=str(tmp_path / "hapi"), verbose=0, shuffle=False)
    (tmp_path / "hapi" / "final.pdscaler").write_bytes(b"?")
    for name, epochs in (("0", 1), ("1", 2), ("final", 2)):
        trainer = resume(make_trainer(tmp_path, paddle.optimizer.lr.StepDecay(0.1, 2)), tmp_path / "hapi" / name)
        assert (trainer.epoch + 1, trainer.step) == (epochs, epochs * STEPS)
    took_over(trainer, net, optimizer)
    assert "file .pdscaler: saved -> nobody here owns it" in differences(trainer)


def python_2(content: dict[str, Any]) -> bytes:
    """A protocol 2 pickle as Python 2 wrote it: bytes and names are STRINGs."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    out = b"\x80\x02}("
    for name, array in content.items():
        out += text(name.encode())
        if isinstance(array, dict):
            out += b"}(" + b"".join(text(k.encode()) + text(v.encode()) for k, v in array.items()) + b"u"
            continue
        shape = b"(" + b"".join(b"J" + n.to_bytes(4, "little") for n in array.shape) + b"t"
        out += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01" + shape
        out += b"cnumpy\ndtype\n" + text(array.dtype.str[1:].encode()) + b"K\x00K\x01\x87R"
        out += (
            b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(array.tobytes()) + b"tb"
        )
    return out + b"u."


def test_a_checkpoint_that_fluid_s_save_dygraph_wrote_under_python_2_is_gone_on_from(tmp_path: Path) -> None:
    model, optimizer = trained()
    table = {name: tensor.name for name, tensor in model.state_dict().items()}
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    moments = {name: tensor.numpy() for name, tensor in optimizer.state_dict().items() if name != "LR_Scheduler"}
    (tmp_path / "old.pdparams").write_bytes(python_2({**weights, "StructuredToParameterName@@": table}))
    (tmp_path / "old.pdopt").write_bytes(python_2({**moments, "global_step": np.array([4])}))
    with pytest.raises(CheckpointError, match="cannot be bound to the model: global_step"):
        resume(make_trainer(tmp_path), tmp_path / "old")
    (tmp_path / "old.pdopt").write_bytes(python_2(moments))
    trainer = resume(make_trainer(tmp_path), tmp_path / "old")
    took_over(trainer, model, optimizer)
    assert "epoch and step: not saved -> 0" in differences(trainer)


def test_the_state_of_a_second_optimizer_over_the_same_parameters_is_bound(tmp_path: Path) -> None:
    model, _ = trained()
    _, optimizer = trained(net=model)
    assert any(key.endswith("moment1_1") for key in optimizer.state_dict())
    took_over(resume(make_trainer(tmp_path), store(tmp_path / "x", model, optimizer)), model, optimizer)


def test_large_arrays_that_paddle_cut_into_slices_are_made_whole(tmp_path: Path) -> None:
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    content: dict[str, Any] = {"w@@.0": whole.ravel()[:4], "w@@.1": whole.ravel()[4:]}
    content["UnpackBigParamInfor@@"] = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(content, 2))
    same(read_weights(str(tmp_path / "x"))[1], {"w": whole})
    content["UnpackBigParamInfor@@"]["w"]["slices"].append("w@@.2")
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(CheckpointError, match="slices of its large arrays do not fit together"):
        read_weights(str(tmp_path / "x"))


# ---------------------------------------------------------------- without a table of names


def store_without_table(prefix: Path, model: Any, optimizer: Any, rename: Callable[[str], str] = str) -> Path:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    Path(f"{prefix}.pdparams").write_bytes(pickle.dumps(weights, 2))
    paddle.save({rename(k): v for k, v in optimizer.state_dict().items()}, f"{prefix}.pdopt")
    return prefix


def test_without_a_table_the_state_is_bound_by_the_order_of_the_layers_and_that_is_said(tmp_path: Path) -> None:
    model, optimizer = trained()
    prefix = store_without_table(tmp_path / "x", model, optimizer)
    trainer = resume(make_trainer(tmp_path), prefix)
    took_over(trainer, model, optimizer)
    assert any("no table of parameter names -> optimizer state bound by the order" in d for d in differences(trainer))


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.fourth = paddle.nn.Linear(1, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fourth(super().forward(x))


def test_without_a_table_another_number_of_layers_is_refused(tmp_path: Path) -> None:
    prefix = store_without_table(tmp_path / "x", *trained(net=Wider()))
    with pytest.raises(CheckpointError, match=r"the file has 4 parameters linear w_0, the model 3"):
        resume(make_trainer(tmp_path), prefix)


def test_without_a_table_another_order_of_shapes_is_refused(tmp_path: Path) -> None:
    class Turned(Net):
        def __init__(self) -> None:
            paddle.nn.Layer.__init__(self)
            self.third = paddle.nn.Linear(2, 1)
            self.first, self.second = paddle.nn.Linear(2, 2), paddle.nn.Linear(2, 2)
            self.norm = paddle.nn.BatchNorm1D(2)

    prefix = store_without_table(tmp_path / "x", *trained(net=Turned()))
    with pytest.raises(CheckpointError, match=r"cannot be bound to the model: linear_\d+\.w_0: first.weight has shape"):
        resume(make_trainer(tmp_path), prefix)


def test_without_a_table_a_name_of_its_own_is_refused(tmp_path: Path) -> None:
    prefix = store_without_table(tmp_path / "x", *trained(), rename=lambda key: key.replace(".w_0", "_weight"))
    with pytest.raises(CheckpointError, match="its parameter has a name of its own"):
        resume(make_trainer(tmp_path), prefix)


# ---------------------------------------------------------------- what does not fit


def test_state_of_a_parameter_that_the_model_lacks_is_refused_by_its_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    prefix = store(tmp_path / "x", model, optimizer)
    state = optimizer.state_dict()
    state["stranger_0.w_0_moment1_0"] = paddle.zeros([2])
    paddle.save(state, f"{prefix}.pdopt")
    with pytest.raises(CheckpointError, match=r"cannot be bound to the model: stranger_0\.w_0_moment1_0"):
        resume(make_trainer(tmp_path), prefix)


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    prefix = store(tmp_path / "x", *trained(net=Net(width=5)))
    with pytest.raises(CheckpointError, match=r"first\.weight has shape \[2, 5\] in the file and \[2, 2\]"):
        resume(make_trainer(tmp_path), prefix)


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    prefix = store(tmp_path / "x", *trained())
    with pytest.raises(CheckpointError, match="does not fit the optimizer Momentum"):
        resume(make_trainer(tmp_path, optimizer=paddle.optimizer.Momentum), prefix)


def test_a_schedule_in_the_file_and_a_number_here_is_a_difference(tmp_path: Path) -> None:
    prefix = store(tmp_path / "x", *trained(2, paddle.optimizer.lr.StepDecay(0.1, 2)))
    trainer = resume(make_trainer(tmp_path, rate=0.5), prefix)
    assert any(
        line.startswith("learning rate: a schedule at 0.01") and "-> 0.5" in line for line in differences(trainer)
    )
    assert trainer.learning_rate == 0.5


def test_a_warm_up_is_restored_with_the_schedule_within(tmp_path: Path) -> None:
    def rate() -> Any:
        lr = paddle.optimizer.lr
        return lr.LinearWarmup(lr.StepDecay(0.1, 2), 2, 0.0, 0.1)

    model, optimizer = trained(7, rate())
    trainer = resume(make_trainer(tmp_path, rate()), store(tmp_path / "x", model, optimizer))
    assert isinstance(trainer.optimizer, paddle.optimizer.Optimizer)
    mine, theirs = trainer.optimizer._learning_rate, optimizer._learning_rate
    for _ in range(5):
        assert mine.last_lr == theirs.last_lr and mine.last_epoch == theirs.last_epoch
        mine.step(), theirs.step()


def test_a_hostile_file_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    prefix = store(tmp_path / "x_epoch1", *trained())
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        path = Path(f"{prefix}{suffix}")
        good = path.read_bytes() if path.exists() else pickle.dumps({"epoch": 1})
        path.write_bytes(b"\x80\x02cos\nsystem\n(X\x0c\x00\x00\x00touch MARKERtR.")
        with pytest.raises(CheckpointError, match=f"{suffix} was not loaded: it asks for os.system"):
            resume(make_trainer(tmp_path), prefix)
        path.write_bytes(good)
    resume(make_trainer(tmp_path), prefix)


@pytest.mark.parametrize(
    ("name", "states", "ticks", "epochs", "steps"),
    [
        ("mnist_epoch3", None, 0, 4, 12),
        ("mnist_epoch3", {"epoch": 3}, 0, 4, 12),
        ("mnist_epoch3", None, 4, 4, 12),  # A schedule that steps once an epoch.
        ("epoch_3", None, 0, 3, 9),
        ("latest", {"epoch": 3}, 0, 3, 9),
        ("latest", {"epoch": 3}, 8, 3, 8),
        ("latest", {"epoch": np.int64(3)}, 3, 3, 9),
        ("12", None, 0, 13, 39),
        ("run_step6", None, 0, 2, 6),
        ("run_step7", None, 0, 3, 7),
        ("final", None, 7, 3, 7),
        ("final", None, 0, None, None),
        ("resnet_50", None, 0, None, None),
        ("latest", {"epoch": "three"}, 0, None, None),
        ("latest", {"epoch": -1}, 0, None, None),
    ],
)
def test_where_it_stood_is_told_by_states_schedule_or_name(
    name: str, states: Any, ticks: int, epochs: int | None, steps: int | None, tmp_path: Path
) -> None:
    if states is not None:
        (tmp_path / f"{name}.pdstates").write_bytes(pickle.dumps(states))
    found = foreign_position(tmp_path / name, {"last_epoch": ticks, "last_lr": 0.1}, STEPS)
    assert (found.epochs, found.steps) == (epochs, steps)
    assert found.notes


def test_a_states_file_that_holds_weights_is_refused(tmp_path: Path) -> None:
    prefix = store(tmp_path / "x", *trained(), states={"w": paddle.zeros([1])})
    with pytest.raises(CheckpointError, match=r"x is not whole: x\.pdstates holds weights, not where a run stands"):
        resume(make_trainer(tmp_path), prefix)


def test_auto_says_which_checkpoints_another_program_saved(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    prefix = store(tmp_path / "ours" / "run_epoch1", *trained(), states={"epoch": 1})
    with pytest.raises(CheckpointError, match="run_epoch1: another program saved it; name it with resume="):
        make_trainer(tmp_path).train(Points(), global_batch_size=4)
    resume(make_trainer(tmp_path), prefix)


# ---------------------------------------------------------------- our own are never unpickled


def test_resuming_our_own_checkpoints_unpickles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = paddle.optimizer.lr.StepDecay(0.1, 2)
    make_trainer(tmp_path, rate).train(Points(), epochs=1, global_batch_size=4)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle._Unpickler, "load", refuse)  # type: ignore[attr-defined]
    monkeypatch.setattr(paddle, "load", refuse)
    monkeypatch.setattr(paddle.framework.io, "load", refuse)
    monkeypatch.setattr(foreign_restore, "translate", refuse)
    for how in ("auto", str(tmp_path / "ours" / "run_epoch0"), str(tmp_path / "ours")):
        trainer = make_trainer(tmp_path, paddle.optimizer.lr.StepDecay(0.1, 2))
        trainer.train(Points(), epochs=2, global_batch_size=4, resume=how)
        assert trainer.restored is not None and not trainer.restored.differences
    read_weights(str(tmp_path / "ours" / "run_epoch0"))
    with pytest.raises(CheckpointError, match="something was unpickled"):  # The negative control.
        shutil.copy(tmp_path / "ours" / "run_epoch0.pdparams", tmp_path / "alone.pdparams")
        read_weights(str(tmp_path / "alone"))


# ---------------------------------------------------------------- --weights

CONFIG = """
run: {{name: tiny, save_dir: ck, log_dir: log}}
model: {{name: MLP, hidden: 8}}
data: {{name: mnist, root: {root}, global_batch_size: 10}}
trainer: {{epochs: 1, max_steps: 1}}
checkpoint: {{every_epochs: null, background: false}}
"""


@pytest.fixture
def command(tmp_path: Path, tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Any]:
    """Runs `train` in this process, in an empty folder; gives the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG.format(root=tiny_mnist))

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["train", "-c", "c.yaml", *arguments])
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, captured.out + captured.err

    return run


def mlp(hidden: int = 8) -> Any:
    from paddle_resume.models import MLP

    return MLP(hidden=hidden)


FROZEN = ("-o", "optimizer.name=SGD", "-o", "optimizer.lr=1.0e-60")  # The weights stay what they were loaded as.


@pytest.mark.parametrize("option", ["--weights", "--pretrained"])
def test_a_fresh_run_starts_from_weights(option: str, command: Any) -> None:
    model = mlp()
    paddle.save(model.state_dict(), "book.pdparams")
    code, said = command(option, "book.pdparams", *FROZEN)
    assert code == 0 and "Weights:     book.pdparams, 4 of 4 loaded" in said
    assert "hidden.weight  [784, 8]  loaded" in said and "\x1b" not in said
    same(read_weights("ck/tiny_step1")[1], {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    start = load(Path("ck/tiny_step1")).record.lineage[0]
    assert start["weights"] == "book.pdparams" and len(start["weights_digest"]) == 32


def test_weights_of_our_own_are_verified_by_their_record(command: Any) -> None:
    assert command(*FROZEN)[0] == 0
    again = (
        "-o",
        "run.save_dir=other",
        "-o",
        "run.log_dir=other_log",
        "-o",
        "run.seed=7",
        *FROZEN,
        "-q",
        "--weights",
        "ck/tiny_step1",
    )
    assert command(*again) == (0, "")
    same(read_weights("other/tiny_step1")[1], read_weights("ck/tiny_step1")[1])
    raw = bytearray(Path("ck/tiny_step1.pdparams").read_bytes())
    raw[-100] ^= 1
    Path("ck/tiny_step1.pdparams").write_bytes(raw)
    code, said = command(*again, "-o", "run.save_dir=third")
    assert (
        code == 2
        and "tiny_step1 is not whole: tiny_step1.pdparams: the digest of" in said
        and not Path("third").exists()
    )


def test_weights_that_do_not_fit_are_all_named_and_partial_loads_the_others(command: Any) -> None:
    model = mlp(hidden=9)
    state = {**model.state_dict(), "head.weight": paddle.zeros([3])}
    del state["hidden.bias"]
    paddle.save(state, "book.pdparams")
    code, said = command("--weights", "book", *FROZEN)
    assert code == 2 and not list(Path("ck").glob("*.pdparams"))
    for part in (
        "hidden.bias is missing in the file",
        "head.weight is unknown to the model",
        "hidden.weight has shape [784, 9] in the file and [784, 8] in the model",
        "output.weight has shape [9, 10] in the file and [8, 10] in the model",
        "--weights-partial",
    ):
        assert part in said
    code, said = command("--weights", "book", "--weights-partial", *FROZEN)
    assert code == 0 and "1 of 5 loaded" in said and "has shape [784, 9] in the file" in said
    assert (
        read_weights("ck/tiny_step1")[1]["output.bias"].tobytes() == model.state_dict()["output.bias"].numpy().tobytes()
    )
    paddle.save({"x": paddle.zeros([1])}, "none.pdparams")
    code, said = command("--weights", "none", "--weights-partial", "--resume", "none", "--overwrite")
    assert code == 2 and "Nothing in none.pdparams fits the model MLP" in said
    code, said = command("--weights-partial")
    assert code == 2 and "--weights-partial says how to load --weights" in said


def test_a_checkpoint_of_the_run_wins_over_weights_and_that_is_said(command: Any) -> None:
    paddle.save(mlp().state_dict(), "book.pdparams")
    assert command("--weights", "book")[0] == 0
    weights = Path("ck/tiny_step1.pdparams").read_bytes()
    code, said = command("--weights", "book")
    assert code == 0 and "--weights book is not used: the run goes on from its checkpoint" in said
    code, said = command()
    assert code == 0 and "This run started from book.pdparams (" in said
    assert Path("ck/tiny_step1.pdparams").read_bytes() == weights
    assert load(Path("ck/tiny_step1")).record.exact


def test_a_long_table_ends_with_a_count(capsys: Any) -> None:
    from paddle_resume.builders.initial_weights import _show_weights

    names = [f"layer[{i}].weight" for i in range(50)]
    _show_weights(Path("x"), {name: np.zeros(2) for name in names}, dict.fromkeys(names, ""))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 33 and lines[2].split() == ["layer[0].weight", "[2]", "loaded"]
    assert lines[-1] == "and 20 more"


def test_the_command_line_goes_on_from_a_foreign_checkpoint(command: Any) -> None:
    model = mlp()
    optimizer = paddle.optimizer.Adam(0.001, parameters=model.parameters())
    model(paddle.ones([2, 1, 28, 28])).sum().backward()
    optimizer.step()
    store(Path("book_epoch0"), model, optimizer)
    longer = ("-o", "trainer.epochs=2", "-o", "trainer.max_steps=null", "-o", "checkpoint.every_epochs=1")
    code, said = command("--resume", "book_epoch0", *longer)
    assert code == 2 and "another program saved it" in said and "state of 'rng'" in said
    code, said = command("--resume", "book_epoch0.pdopt", "--allow-inexact", *longer)
    assert code == 0 and "inexact since step 5" in said
    assert json.loads(Path("ck/tiny_epoch1.pdstates").read_text())["exact"] is False


def test_the_step_of_a_foreign_checkpoint_counts_updates_where_batches_are_accumulated(tmp_path: Path) -> None:
    model, optimizer = trained(0, 0.01)
    prefix = store(tmp_path / "mnist_epoch3", model, optimizer)
    net = Net()
    trainer = Trainer(
        net,
        paddle.optimizer.Adam(0.01, parameters=net.parameters()),
        loss=paddle.nn.MSELoss(),
        save_dir=tmp_path / "ours",
        schedule=SaveSchedule(background=False),
        step=StepOptions(accumulate_steps=2),
    )
    resume(trainer, prefix)
    assert trainer.step == 4 * -(-STEPS // 2)
