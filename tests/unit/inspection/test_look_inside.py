"""LookInside: it logs what is in a model, moves no bit of its training, and goes on after a kill as if untouched."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import paddle
import pytest
from forking import assert_exact_resume, run
from PIL import Image
from places import PROGRAMS
from visualdl.component.graph import Model
from visualdl.proto.record_pb2 import Record

from paddle_resume import Callback, LookInside, Trainer, seed_everything
from paddle_resume.builders.run import build_run
from paddle_resume.config import load_config
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.errors import ConfigError, InexactResumeError
from paddle_resume.loggers import VisualDLLogger, read_records, read_scalars, read_values
from paddle_resume.loggers.visualdl import _payloads
from paddle_resume.models import MNIST
from paddle_resume.testing import Kill, first_differences
from paddle_resume.training.save_schedule import SaveSchedule

PROGRAM = str(PROGRAMS / "train_digits.py")


def images(count=16):
    draw = np.random.RandomState(0)
    return ImageArrays(draw.randint(0, 256, (count, 28, 28)).astype("uint8"), np.arange(count) % 10, num_classes=10)


def train(folder, *callbacks, model=None, optimizer=None, cls=Trainer, epochs=1, **options):
    """Two steps an epoch of a small run whose VisualDL log lies in `folder`; returns the trainer."""
    if model is None:
        seed_everything(3)
        model = MNIST()
    trainer = cls(
        model,
        optimizer or paddle.optimizer.Momentum(0.01, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        save_dir=folder / "checkpoint",
        logger=VisualDLLogger(folder, "run"),
        callbacks=callbacks,
        schedule=SaveSchedule(background=False),
        **options,
    )
    trainer.train(images(), epochs=epochs, global_batch_size=8, shuffle=False)
    return trainer


def values(folder):
    """Each record's content by (kind, tag, step)."""
    found = {}
    for payload in _payloads((folder / "vdlrecords.run.log").read_bytes()):
        for item in Record.FromString(payload).values:
            kind = item.WhichOneof("one_value")
            found[kind, item.tag, item.id] = getattr(item, kind)
    return found


@pytest.fixture(scope="module")
def straight_runs(tmp_path_factory):
    """The digits program without a look and with one, each in a process of its own."""
    folders = {}
    for name, more in (("plain", []), ("looked", ["--look"])):
        folders[name] = tmp_path_factory.mktemp(name)
        run([PROGRAM, "--dropout", "0.3", *more], folders[name]).check_returncode()
    return folders["plain"], folders["looked"]


def test_a_run_that_is_looked_into_ends_with_the_bits_of_one_that_is_not(straight_runs):
    plain, looked = straight_runs
    for pattern in ("*.pdparams", "*.pdopt"):
        names = {path.relative_to(plain) for path in plain.rglob(pattern)}
        assert names == {path.relative_to(looked) for path in looked.rglob(pattern)} != set()
        for name in names:
            assert (plain / name).read_bytes() == (looked / name).read_bytes(), name
    assert read_records(plain / "log/metrics.jsonl") == read_records(looked / "log/metrics.jsonl")
    # The log, and with it its cursor in the checkpoints, is longer: that is the only difference there may be.
    differences = first_differences(plain, looked)
    assert differences
    assert all("log.VisualDLLogger.offset" in line or "vdlrecords" in line for line in differences), differences


def test_the_looked_into_run_has_logged_every_kind_of_record(straight_runs):
    _, looked = straight_runs
    found = read_values(looked / "log/vdlrecords.digits.log")
    assert {kind for _, _, kind, _ in found} == {"value", "histogram", "image"}
    assert {step for tag, step, _, _ in found if tag == "gradient/hidden.weight"} == set(range(2, 17, 2))
    assert (looked / "log/vdlgraph.digits.log").exists()


def test_a_looked_into_run_that_is_killed_logs_the_same_records(tmp_path):
    # The last save is at step 9, and a look at step 10 lies behind its cursor in the log.
    assert_exact_resume([PROGRAM, "--dropout", "0.3", "--look"], tmp_path, [Kill("step", 11)])


@pytest.mark.parametrize("kind", ["histogram", "image"])
def test_the_comparison_of_runs_notices_one_changed_histogram_or_image(kind, tmp_path):
    for name, step in (("straight", 1), ("killed", 1), ("other", 2)):
        log = VisualDLLogger(tmp_path / name, "run")
        array = np.full((3, 3), 7 if name == "killed" else 8, np.uint8)
        (log.log_histogram if kind == "histogram" else log.log_image)("look", array, step)
        log.close()
    (line,) = [d for d in first_differences(tmp_path / "straight", tmp_path / "killed") if "vdlrecords" in d]
    assert f"{kind} look of step 1: the contents differ" in line
    (line,) = [d for d in first_differences(tmp_path / "straight", tmp_path / "other") if "vdlrecords" in d]
    assert f"{kind} look of step 1: -> {kind} look of step 2" in line


def test_the_gradients_are_those_that_the_optimizer_gets(tmp_path):
    class Noting(Trainer):
        def train_step(self, batch):
            loss = self.loss(self.model(batch[0]), batch[1])
            loss.backward()
            noted.append({name: p.grad.numpy().copy() for name, p in self.model.named_parameters()})
            self.optimizer.step()
            self.optimizer.clear_grad()
            return loss

    noted: list[dict[str, np.ndarray]] = []
    train(tmp_path, LookInside(every=2), cls=Noting)
    norms = {name: np.sqrt(np.square(g.astype("float64")).sum()) for name, g in noted[1].items()}
    points = read_scalars(tmp_path / "vdlrecords.run.log")
    for name, norm in norms.items():
        assert points[f"gradient_norm/{name}"] == [
            (2, pytest.approx(norm, rel=1e-6), points[f"gradient_norm/{name}"][0][2])
        ]
    total = np.sqrt(sum(norm**2 for norm in norms.values()))
    assert points["gradient_norm/total"][0][1] == pytest.approx(total, rel=1e-6)
    histogram = values(tmp_path)["histogram", "gradient/fc.weight", 2]
    expected, edges = np.histogram(noted[1]["fc.weight"].astype("float64"), 30)
    assert list(histogram.hist) == expected.tolist()
    assert list(histogram.bin_edges) == edges.tolist()


def test_the_weights_are_those_after_the_update(tmp_path):
    trainer = train(tmp_path, LookInside(every=2))
    histogram = values(tmp_path)["histogram", "weight/conv1.weight", 2]
    expected, _ = np.histogram(trainer.model.conv1.weight.numpy().astype("float64"), 30)
    assert list(histogram.hist) == expected.tolist()


def test_the_images_are_the_first_of_the_batch_that_the_model_was_given(tmp_path):
    train(tmp_path, LookInside(every=2, images=3))
    data, found = images(), values(tmp_path)
    pictures = {tag: item for (kind, tag, step), item in found.items() if kind == "image"}
    assert sorted(pictures) == ["input/0", "input/1", "input/2"]
    for i in range(3):
        picture = np.asarray(Image.open(io.BytesIO(pictures[f"input/{i}"].encoded_image_string)))
        # The second batch begins at sample 8; a batch of noise reaches from 0 to 255, so nothing is stretched.
        assert picture.tobytes() == data.images[8 + i, :, :, 0].tobytes()


def test_the_activations_tell_of_the_layers_that_do_the_work(tmp_path):
    train(tmp_path, LookInside(every=1, histograms=False, images=0, gradients=False))
    points = read_scalars(tmp_path / "vdlrecords.run.log")
    layers = {tag.split("/")[1] for tag in points if tag.startswith("activation_")}
    assert layers == {"conv1", "pool1", "conv2", "pool2", "fc"}
    assert not [tag for tag in points if tag.startswith("gradient")]
    assert {kind for kind, _, _ in values(tmp_path)} == {"meta_data", "value"}


def test_the_graph_is_one_that_visualdl_draws_and_names_the_layers(tmp_path):
    train(tmp_path, LookInside())
    graph = json.loads((tmp_path / "vdlgraph.run.log").read_text())
    names = [node["name"] for node in graph["nodes"]]
    assert any("Conv2D[conv2]" in name for name in names)
    assert Model(graph).make_graph(refresh=True, expand_all=False)["nodes"]


def test_the_model_has_no_hook_left_and_the_optimizer_its_own_step(tmp_path):
    model = MNIST()
    optimizer = paddle.optimizer.SGD(0.01, parameters=model.parameters())
    train(tmp_path, LookInside(every=1), LookInside(every=2), model=model, optimizer=optimizer)
    assert "step" not in vars(optimizer)
    for layer in model.sublayers(include_self=True):
        assert not layer._forward_pre_hooks
        assert not layer._forward_post_hooks


def test_a_step_that_the_user_had_put_into_the_optimizer_is_there_again(tmp_path):
    model = MNIST()
    optimizer = paddle.optimizer.SGD(0.01, parameters=model.parameters())
    original, made = optimizer.step, []

    def counted():
        made.append(1)
        original()

    optimizer.step = counted
    train(tmp_path, LookInside(every=1), LookInside(every=1), model=model, optimizer=optimizer)
    assert optimizer.step is counted
    assert len(made) == 2


def test_a_model_that_cannot_be_drawn_trains_on_and_says_so_once(tmp_path, capsys):
    class Parts(Trainer):
        def train_step(self, batch):
            output = self.model["net"](batch[0])
            loss = self.loss(output, batch[1])
            loss.backward()
            self.optimizer.step()
            self.optimizer.clear_grad()
            return loss

    model = paddle.nn.LayerDict({"net": MNIST()})
    trainer = train(tmp_path, LookInside(every=2), model=model, cls=Parts, epochs=2)
    assert trainer.step == 4
    told = capsys.readouterr().out
    assert told.count("The graph of LayerDict could not be drawn: a step calls parts of it, never the whole.") == 1
    assert not (tmp_path / "vdlgraph.run.log").exists()
    assert ("histogram", "gradient/net.fc.weight", 2) in values(tmp_path), "all else is logged"


def test_each_optimizer_is_looked_into_when_there_are_several(tmp_path):
    class Both(Trainer):
        def train_step(self, batch):
            loss = self.loss(self.model[1](self.model[0](batch[0])), batch[1])
            loss.backward()
            for optimizer in self.optimizer.values():
                optimizer.step()
                optimizer.clear_grad()
            return loss

    model = paddle.nn.Sequential(
        paddle.nn.Flatten(), paddle.nn.Sequential(paddle.nn.Linear(784, 4), paddle.nn.Linear(4, 10))
    )
    optimizers = {
        name: paddle.optimizer.SGD(0.1, parameters=layer.parameters()) for name, layer in zip("ab", model[1].children())
    }
    train(tmp_path, LookInside(every=2, graph=False), model=model, optimizer=optimizers, cls=Both)
    points = read_scalars(tmp_path / "vdlrecords.run.log")
    assert {tag for tag in points if tag.startswith("gradient_norm/1.")} == {
        f"gradient_norm/1.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }


def test_weights_in_a_shorter_type_are_logged_as_the_values_that_they_are(tmp_path):
    model = paddle.nn.Linear(4, 4)
    model.to(dtype="bfloat16")
    log = LookInside(every=1, graph=False)
    log._log = VisualDLLogger(tmp_path, "run")
    log._write(model, 1, [], {}, {})
    log._log.close()
    edges = values(tmp_path)["histogram", "weight/weight", 1].bin_edges
    assert -2 < min(edges) < max(edges) < 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 0}, r"LookInside\(every=0\): expected a whole number of 1 or more"),
        ({"images": 1.5}, r"LookInside\(images=1.5\): expected a whole number of 0 or more"),
        ({"graph": "no"}, r"LookInside\(graph='no'\): expected True or False"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, expected):
    with pytest.raises(ConfigError, match=expected):
        LookInside(**options)


def test_a_run_without_visualdl_is_told_to_get_a_logger(tmp_path):
    model = MNIST()
    trainer = Trainer(
        model,
        paddle.optimizer.SGD(0.1, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        save_dir=tmp_path,
        logger=None,
        callbacks=[LookInside()],
    )
    with pytest.raises(ConfigError, match="this run has no VisualDLLogger; give the trainer one"):
        trainer.train(images())


# ---------------------------------------------------------------- callbacks in a config

MINE = """
from paddle_resume import Callback

class Marker(Callback):
    def __init__(self, text="here"):
        self.text = text

    def on_train_end(self, trainer):
        open(self.text, "w").close()

class Watcher(Marker):
    only_watches = True
"""
CONFIG = """
run: {name: small, seed: 1}
model: {name: MLP, hidden: 4}
data: {root: ROOT, global_batch_size: 25}
trainer: {epochs: 1, log_every: 1}
checkpoint: {every_steps: 1, background: false}
"""


@pytest.fixture
def start(tmp_path, tiny_mnist, monkeypatch):
    """Builds and trains the config with these callbacks and overrides, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "marker_here.py").write_text(MINE)
    (tmp_path / "a.yaml").write_text(CONFIG.replace("ROOT", str(tiny_mnist)))

    def run(callbacks, *overrides):
        config = load_config("a.yaml", [f"callbacks={callbacks}", *overrides])
        return build_run(config, verbosity=0).train("auto", False, False)

    yield run
    sys.modules.pop("marker_here", None)


def test_a_config_names_callbacks_of_this_package_and_of_the_users(start, tmp_path):
    start("[{name: LookInside, every: 1, graph: false}, {name: 'marker_here:Marker', text: done}]")
    assert (tmp_path / "done").exists()
    assert "gradient_norm/total" in read_scalars(tmp_path / "log/small/vdlrecords.small.log")


def test_callbacks_that_only_watch_may_come_change_and_go_between_two_starts(start):
    start("[]", "trainer.max_steps=1")
    start("[{name: LookInside, every: 1, graph: false}]", "trainer.max_steps=2")
    start("[{name: 'marker_here:Watcher'}]", "trainer.epochs=2", "trainer.max_steps=3")
    start("[{name: 'marker_here:Watcher', text: other}]", "trainer.epochs=2")


def test_another_callback_is_a_change_that_stops_a_resume(start):
    start("[]", "trainer.max_steps=1")
    with pytest.raises(InexactResumeError, match=r"callbacks: \[\] -> \[.*marker_here:Marker"):
        start("[{name: 'marker_here:Marker'}]")


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ("[{name: LookInsde}]", r"callbacks.0.name: LookInsde is not known; .* did you mean LookInside\?"),
        ("[{name: LookInside, ever: 3}]", "callbacks.0: LookInside cannot take these arguments"),
        ("[{name: LookInside}, {name: LookInside, every: 0}]", r"LookInside\(every=0\)"),
        ("[{name: 'paddle.nn:ReLU'}]", "paddle.nn is a part of Paddle"),
        ("LookInside", "expected a list"),
    ],
)
def test_a_callback_that_cannot_be_used_is_refused_before_anything_is_written(callbacks, expected, start, tmp_path):
    with pytest.raises(ConfigError, match=expected):
        start(callbacks)
    assert not (tmp_path / "checkpoint").exists()


def test_a_callback_counts_as_taking_part_unless_it_says_otherwise():
    assert Callback.only_watches is False
    assert LookInside.only_watches is True
