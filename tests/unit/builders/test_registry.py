"""Names in the config: which classes they may reach, and what is said when they reach none."""

from __future__ import annotations

import sys

import paddle
import pytest

from paddle_resume.builders import registry
from paddle_resume.builders.registry import build, check_arguments, register, resolve
from paddle_resume.errors import ConfigError, DataError

MINE = """
from __future__ import annotations
import abc
import paddle
import paddle.nn as nn

class Net(nn.Layer):
    def __init__(self, width, fail=False):
        super().__init__()
        if fail:
            raise RuntimeError("no width fits")
        self.width = width

class Abstract(nn.Layer, abc.ABC):
    @abc.abstractmethod
    def forward(self, x): ...

class _Private(nn.Layer): ...
class Plain: ...

def make(width) -> Net: return Net(width)
def make_dotted(width) -> nn.Layer: return Net(width)
def unmarked(width): raise SystemExit("called")
def marked_plain(width) -> Plain: raise SystemExit("called")
def liar(width) -> Net: return 3
value = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_here.py").write_text(MINE)
    (tmp_path / "broken_here.py").write_text("raise OSError('no disk')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("mine_here", None)


def refusal(kind, name, **args):
    with pytest.raises(ConfigError) as caught:
        build(kind, name, args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("model", "AlexNet", paddle.vision.models.AlexNet),
        ("model", "resnet18", paddle.vision.models.resnet18),
        ("data", "VOC2012", paddle.vision.datasets.VOC2012),
        ("loss", "CrossEntropyLoss", paddle.nn.CrossEntropyLoss),
        ("metric", "paddle.metric:Auc", paddle.metric.Auc),  # this package has one of each name itself
        ("optimizer", "Adam", paddle.optimizer.Adam),
        ("lr", "PolynomialDecay", paddle.optimizer.lr.PolynomialDecay),
    ],
)
def test_each_kind_finds_the_names_of_its_paddle_module(kind, name, expected):
    assert resolve(kind, name) is expected


def test_a_name_of_this_package_comes_before_that_of_paddle(mine, monkeypatch):
    monkeypatch.syspath_prepend(".")
    monkeypatch.setitem(registry.OWN, "model", ("mine_here", ("Net",)))
    assert resolve("model", "Net").__module__ == "mine_here"
    assert resolve("model", "LeNet") is paddle.vision.models.LeNet


def test_a_registered_class_is_found_by_its_name_and_offered(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})

    @register("model", "shiny")
    class Shiny(paddle.nn.Layer):
        pass

    assert isinstance(build("model", "shiny", {}), Shiny)
    assert "did you mean shiny?" in refusal("model", "shinny")
    with pytest.raises(KeyError, match=r"modle is none of model, data"):
        register("modle", "shiny")


def test_an_import_path_reaches_a_class_in_the_working_directory(mine):
    assert build("model", "mine_here:Net", {"width": 3}).width == 3


@pytest.mark.parametrize("name", ["make", "make_dotted"])
def test_a_function_that_says_it_returns_the_kind_is_accepted(mine, name):
    assert build("model", f"mine_here:{name}", {"width": 3}).width == 3


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("model", "os.system", "model.name: os.system is not known; expected a subclass of paddle.nn.Layer"),
        ("model", "os:system", "model: os:system was not imported: os is a part of Python"),
        ("model", "lenet", "model.name: lenet is the module paddle.vision.models.lenet"),
        ("model", "mine_here:unmarked", "is the function mine_here.unmarked without such a return type"),
        (
            "model",
            "mine_here:marked_plain",
            "is the function mine_here.marked_plain without such a return type",
        ),
        ("model", "mine_here:Plain", "is the class mine_here.Plain; expected a subclass of paddle.nn.Layer"),
        ("model", "mine_here:Abstract", "is the class mine_here.Abstract, an abstract base"),
        ("model", "mine_here:value", "is an object of the class int"),
        ("model", "mine_here:_Private", "mine_here:_Private is a private name"),
        ("model", "mine_here:", "is not an import path"),
        ("model", ".mine_here:Net", "is not an import path"),
        (
            "optimizer",
            "mine_here:Net",
            "is the class mine_here.Net; expected a subclass of paddle.optimizer.Optimizer",
        ),
        (
            "optimizer",
            "Optimizer",
            "optimizer.name: Optimizer is the class paddle.optimizer.optimizer.Optimizer, an",
        ),
        (
            "metric",
            "Metric",
            "metrics.name: Metric is the class paddle.metric.metrics.Metric, an abstract base",
        ),
        ("lr", "polynomial_decay", "optimizer.lr.name: polynomial_decay is the function"),
        ("lr", "_LRScheduler", "_LRScheduler is a private name"),
        ("loss", "functional", "loss.name: functional is the module paddle.nn.functional"),
    ],
)
def test_what_is_not_of_the_kind_is_refused_and_never_called(mine, kind, name, reason):
    assert reason in refusal(kind, name, width=3)


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("optimizer", "adam", "did you mean Adam?"),
        ("lr", "PolynomDecay", "did you mean PolynomialDecay?"),
        ("loss", "CrossEntropy", "did you mean CrossEntropyLoss?"),
        ("model", "MNST", "did you mean MNIST?"),
        ("model", "resnet_18", "did you mean resnet18?"),
        ("model", "zzz", "a class of yours is written my_package.module:Class"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_known_one(kind, name, hint):
    assert refusal(kind, name).endswith(hint)


def test_a_module_that_cannot_be_imported_is_told_with_the_reason(mine):
    assert "model: nowhere:Net: importing nowhere failed: ModuleNotFoundError" in refusal("model", "nowhere:Net")
    assert "importing broken_here failed: OSError: no disk" in refusal("model", "broken_here:Net")


def test_a_module_without_the_class_is_told_with_the_nearest_name(mine):
    assert refusal("model", "mine_here:Nett") == ("model: module mine_here has no Nett; did you mean mine_here:Net?")


def test_a_wrong_argument_is_told_with_the_nearest_one_and_the_signature():
    text = refusal("lr", "PolynomialDecay", learning_rate=0.1, decay_step=3)
    assert "optimizer.lr: PolynomialDecay cannot take these arguments" in text
    assert "for decay_step, did you mean decay_steps?" in text
    assert "its signature: PolynomialDecay(learning_rate, decay_steps, end_lr=0.0001, power=1.0" in text


def test_a_missing_argument_is_told_before_anything_is_called(mine):
    text = refusal("model", "mine_here:Net")
    assert "missing a required argument: 'width'" in text
    assert "its signature: Net(width, fail=False)" in text


def test_the_trainers_own_arguments_are_passed_and_cannot_be_given_in_the_config():
    parameters = paddle.nn.Linear(2, 2).parameters()
    supplied = {"learning_rate": 0.5, "parameters": parameters}
    optimizer = build("optimizer", "Adam", {"beta1": 0.8}, supplied=supplied)
    assert optimizer.get_lr() == 0.5
    with pytest.raises(ConfigError, match=r"^optimizer.learning_rate: the trainer supplies that; .* set optimizer.lr"):
        check_arguments("optimizer", paddle.optimizer.Adam, {"learning_rate": 1.0}, supplied=supplied)


def test_an_error_of_the_constructor_is_told_with_its_own_text(mine):
    with pytest.raises(ConfigError, match=r"RuntimeError: no width fits") as caught:
        build("model", "mine_here:Net", {"width": 3, "fail": True}, where="model")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "mine_here:Net could not be built with {'width': 3, 'fail': True}" in str(caught.value)


def test_an_error_of_this_package_passes_unchanged(monkeypatch):
    class Missing(paddle.io.Dataset):
        def __init__(self):
            raise DataError("no files")

    monkeypatch.setattr(registry, "_REGISTERED", {("data", "missing"): Missing})
    with pytest.raises(DataError, match=r"^no files$"):
        build("data", "missing", {})


def test_what_a_function_returns_is_checked(mine):
    assert "mine_here:liar returned the class builtins.int" in refusal("model", "mine_here:liar", width=3)


def test_messages_name_the_config_key_that_the_caller_gives():
    with pytest.raises(ConfigError, match=r"^metrics\.1\.name: Akk is not known"):
        build("metric", "Akk", {}, where="metrics.1")
