"""`inspect`: what it tells of a model's layers and values, for models of every build."""

from __future__ import annotations

import re

import forking
import numpy as np
import paddle
import pytest
from paddle import nn
from places import ROOT
from rich.console import Console

from paddle_resume.checkpoint.record_differences import value_differences
from paddle_resume.config import load_config
from paddle_resume.errors import ConfigError
from paddle_resume.inspection.model_inspection import inspect_config
from paddle_resume.inspection.model_summary import summarize
from paddle_resume.inspection.summary_tables import SummaryPrinter
from paddle_resume.inspection.tensor_statistics import Statistics
from paddle_resume.models import MLP, MNIST, LeNet
from paddle_resume.rng import RandomStreams

CONFIG = "run: {name: small}\nmodel: {name: LeNet}\ndata: {root: ROOT, global_batch_size: 5}\n"


@pytest.fixture
def run(tmp_path, tiny_mnist):
    """Runs tools/inspect_model.py on a small config, as a user does; returns (exit code, stdout, stderr)."""
    (tmp_path / "a.yaml").write_text(CONFIG.replace("ROOT", str(tiny_mnist)))

    def command(*arguments):
        done = forking.run([ROOT / "tools/inspect_model.py", "-c", "a.yaml", *arguments], tmp_path)
        return done.returncode, done.stdout, done.stderr

    return command


def rows(found):
    return [(row.name, row.parameters, row.input, row.output) for row in found.layers]


def remarks(layer, x):
    """What is remarked on the one layer of a model."""
    (row,) = summarize(layer, [paddle.to_tensor(np.asarray(x, "float32"))], values=True).layers
    return row.findings


def printed(model, x, channel, seed=0):
    console = Console(width=200)
    with console.capture() as capture:
        SummaryPrinter(console).print_channel(summarize(model, [x], values=True), channel, seed)
    return capture.get()


def test_a_network_is_told_layer_by_layer_with_its_totals():
    found = summarize(MNIST(), [paddle.zeros([2, 1, 28, 28])])
    assert rows(found) == [
        ("conv1", 520, "[2, 1, 28, 28]", "[2, 20, 28, 28]"),
        ("pool1", 0, "[2, 20, 28, 28]", "[2, 20, 14, 14]"),
        ("conv2", 10_020, "[2, 20, 14, 14]", "[2, 20, 14, 14]"),
        ("pool2", 0, "[2, 20, 14, 14]", "[2, 20, 7, 7]"),
        ("fc", 9810, "[2, 980]", "[2, 10]"),
    ]
    assert [row.window("kernel") for row in found.layers] == ["5x5", "2", "5x5", "2", ""]
    assert [row.window("padding") for row in found.layers] == ["2", "0", "2", "0", ""]
    assert [row.window("stride") for row in found.layers] == ["1x1", "2", "1x1", "2", ""]
    assert (found.parameters, found.parameter_bytes, found.output) == (20_350, 81_400, "[2, 10]")


def test_a_layer_that_is_used_twice_has_two_rows_and_counts_once():
    class Twice(nn.Layer):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.alias = self.inner

        def forward(self, x):
            return self.alias(self.inner(x))

    found = summarize(Twice(), [paddle.zeros([2, 4])])
    assert rows(found) == [("inner", 20, "[2, 4]", "[2, 4]"), ("inner", None, "[2, 4]", "[2, 4]")]
    assert found.parameters == 20


def test_several_inputs_and_nested_outputs_are_told_as_they_are():
    class Odd(nn.Layer):
        def __init__(self):
            super().__init__()
            self.mix = Mix()

        def forward(self, x, y):
            return self.mix(x, [y, None], scale=2.0)

    class Mix(nn.Layer):
        def forward(self, x, others, scale):
            return {"sum": x + others[0], "pair": (x * scale, 3)}

    found = summarize(Odd(), [paddle.zeros([2, 4]), paddle.ones([2, 4])], values=True)
    expected = "{sum: [2, 4], pair: ([2, 4], int)}"
    assert rows(found) == [("mix", 0, "([2, 4], ([2, 4], NoneType))", expected)]
    assert found.input == "([2, 4], [2, 4])"
    assert found.layers[0].statistics.count == 16


def test_of_a_recurrent_layer_that_computes_in_one_kernel_all_parameters_are_told():
    model = nn.LSTM(3, 5)
    found = summarize(model, [paddle.zeros([2, 7, 3])])
    assert rows(found) == [("", 200, "[2, 7, 3]", "([2, 7, 5], ([1, 2, 5], [1, 2, 5]))")]
    assert found.parameters == 200


def test_a_layer_with_parameters_of_its_own_is_told_besides_those_inside_it():
    class Scaled(nn.Layer):
        def __init__(self):
            super().__init__()
            self.scale = self.create_parameter([4])
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x) * self.scale

    found = summarize(nn.Sequential(Scaled()), [paddle.zeros([1, 4])])
    assert [(name, count) for name, count, _, _ in rows(found)] == [("0.inner", 20), ("0", 4)]


def test_a_layer_that_is_never_called_is_told_so_that_the_parameters_add_up():
    class Spare(nn.Layer):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.used(x)

    found = summarize(Spare(), [paddle.zeros([1, 4])])
    assert rows(found)[1] == ("spare", 10, "", None)
    assert sum(row.parameters for row in found.layers) == found.parameters == 30


def test_a_layer_is_measured_before_a_later_one_changes_its_output_in_place():
    class InPlace(nn.Layer):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(1, 1, bias_attr=nn.initializer.Constant(-1.0))

        def forward(self, x):
            return self.inner(x).zero_()

    found = summarize(InPlace(), [paddle.zeros([3, 1])], values=True)
    assert found.layers[0].statistics.mean == -1


def test_a_survey_leaves_no_trace_in_the_model():
    model = MLP(dropout=0.5)
    x = paddle.rand([2, 1, 28, 28])
    before = [p.numpy().tobytes() for p in model.parameters()]
    random = RandomStreams().state_dict()
    summarize(model, [x], values=True)
    assert [p.numpy().tobytes() for p in model.parameters()] == before
    assert list(value_differences(random, RandomStreams().state_dict())) == []
    for layer in model.sublayers(include_self=True):
        assert layer.training
        assert not layer._forward_post_hooks


def test_statistics_are_those_of_the_finite_values():
    found = Statistics.of([np.array([1, 2, np.nan], "float32"), np.array([[0, -3], [np.inf, 0]], "float32")])
    assert (found.count, found.non_finite, found.minimum, found.maximum, found.zeros) == (7, 2, -3, 2, 0.4)
    assert found.mean == 0
    assert found.std == pytest.approx(np.std([1, 2, 0, -3, 0]))


def test_statistics_of_nothing_and_of_nothing_finite_are_nan():
    for arrays in ([], [np.zeros(0)], [np.array([np.nan])]):
        assert np.isnan(Statistics.of(arrays).mean)


# ---------------------------------------------------------------- remarks


def test_a_sound_layer_gets_no_remark():
    assert remarks(nn.Linear(4, 3), np.random.RandomState(0).randn(8, 4)) == []
    assert remarks(nn.Sigmoid(), [[0.0, 1.0, -1.0]]) == []
    assert remarks(nn.Softmax(), np.zeros([4, 1000])) == [], "small probabilities alone are no saturation"


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.ReLU(), [[-1, -2]], "dead: all outputs are 0"),
        (nn.ReLU(), [[-1, -2, 3], [-1, -2, 4]], "partly dead: 2 of 3 channels are 0 throughout the batch"),
        (nn.Identity(), [[1, 2e4]], "exploding: outputs up to 2e+04"),
        (nn.Identity(), [[1, -2e4]], "exploding: outputs up to 2e+04"),
        (nn.Identity(), [[1, np.nan, np.inf]], "NaN or infinite: 2 of 3 outputs"),
        (nn.Sigmoid(), [[-9, 9, 9, 9]], "saturated: 100% lie within 0.01 of a limit of Sigmoid"),
        (nn.Tanh(), [[-9, 9, 9, 9, 9, 0]], "saturated: 83% lie within 0.01 of a limit of Tanh"),
        (nn.Softmax(), [[0, 90], [90, 0]], "saturated: 100% lie within 0.01 of a limit of Softmax"),
    ],
)
def test_trouble_in_outputs_is_remarked(layer, x, expected):
    assert expected in remarks(layer, x)


def test_channels_of_images_are_those_of_axis_one_and_of_another_layout_those_of_the_last():
    x = np.ones([2, 4, 3, 3])
    x[:, 1:] = 0
    assert remarks(nn.ReLU(), x) == ["partly dead: 3 of 4 channels are 0 throughout the batch"]
    last = nn.MaxPool2D(1, data_format="NHWC")
    assert remarks(last, np.moveaxis(x, 1, 3)) == ["partly dead: 3 of 4 channels are 0 throughout the batch"]


def test_weights_that_are_all_zero_are_remarked_and_a_bias_that_starts_so_is_not():
    model = nn.Linear(3, 2, weight_attr=nn.initializer.Constant(0.0))
    found = summarize(model, [paddle.ones([1, 3])], values=True)
    assert [row.findings for row in found.weights] == [["dead: all weights are 0"], []]
    model.weight.set_value(np.full([3, 2], np.nan, "float32"))
    assert summarize(model, [paddle.ones([1, 3])], values=True).weights[0].findings == [
        "NaN or infinite: 6 of 6 weights"
    ]


# ---------------------------------------------------------------- one channel


def test_a_named_channel_is_printed_with_its_kernel():
    model = nn.Sequential(nn.Conv2D(1, 2, 2, weight_attr=nn.initializer.Constant(0.5), bias_attr=False))
    text = printed(model, paddle.ones([1, 1, 3, 3]), "0:1")
    assert "Channel 1 of 0 for the first sample, [2, 2]\n[[2. 2.]\n [2. 2.]]" in text
    assert "Its kernel for input channel 0, [2, 2]\n[[0.5 0.5]\n [0.5 0.5]]" in text


def test_a_drawn_channel_is_the_same_for_the_same_seed_and_another_for_another():
    model, x = MNIST(), paddle.rand([1, 1, 28, 28])
    first = [printed(model, x, None, seed).splitlines()[1] for seed in range(6)]
    assert first == [printed(model, x, None, seed).splitlines()[1] for seed in range(6)]
    assert len(set(first)) > 1
    assert "of fc" not in "".join(first), "a picture if there is one"


def test_of_a_layer_of_units_all_are_printed_or_the_one_that_is_named():
    model = nn.Sequential(nn.Linear(2, 3, weight_attr=nn.initializer.Constant(0.5)))
    assert "Output of 0 for the first sample, [3]\n[1. 1. 1.]" in printed(model, paddle.ones([1, 2]), "0")
    assert "Channel 2 of 0 for the first sample, []\n1." in printed(model, paddle.ones([1, 2]), "0:2")
    with pytest.raises(ConfigError, match="0 has the channels 0 to 2"):
        printed(model, paddle.ones([1, 2]), "0:3")


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("conv9", "no layer conv9 has floating-point outputs; use one of conv1, pool1"),
        ("conv1:20", "conv1 has the channels 0 to 19"),
        ("conv1:x", "expected LAYER or LAYER:INDEX, such as conv1:3"),
    ],
)
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(channel, expected):
    with pytest.raises(ConfigError, match=expected):
        printed(MNIST(), paddle.rand([1, 1, 28, 28]), channel)


# ---------------------------------------------------------------- the command


def test_the_command_prints_plain_columns_of_a_configs_model(run):
    code, out, error = run()
    assert (code, error) == (0, "")
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert ["features.0", "Conv2D", "5x5", "1x1", "2", "156", "[2, 1, 28, 28]", "[2, 6, 28, 28]"] in lines
    assert "Total: 61,706 parameters (241 KiB); input [2, 1, 28, 28], output [2, 10]" in out
    assert not set("│┃━─") & set(out)


def test_the_command_with_values_prints_statistics_and_a_channel(run):
    code, out, _ = run("--values", "--channel", "features.3:5")
    assert code == 0
    assert "the first 5 samples of mnist" in out
    assert "Outputs over the batch:" in out
    assert "Channel 5 of features.3 for the first sample, [10, 10]" in out


def test_a_mistake_is_told_in_one_paragraph(run):
    code, out, error = run("--channel", "conv1")
    assert (code, out) == (2, "")
    assert error == "error: --weights and --channel are about values; give --values too.\n"


@pytest.fixture
def config(tmp_path, tiny_mnist):
    """The small config with these overrides."""
    (tmp_path / "a.yaml").write_text(CONFIG.replace("ROOT", str(tiny_mnist)))
    return lambda *overrides: load_config(tmp_path / "a.yaml", overrides)


def test_a_given_shape_needs_no_data(config, tmp_path, capsys):
    inspect_config(config(f"data.root={tmp_path / 'nothing'}"), shapes=["1,28,28"])
    assert "LeNet, weights from a fresh start, 2 random samples" in capsys.readouterr().out


def test_mnist_that_is_not_there_is_replaced_by_random_images_of_its_shape_and_that_is_said(config, tmp_path, capsys):
    inspect_config(config(f"data.root={tmp_path / 'nothing'}"))
    out = capsys.readouterr().out
    assert "2 random samples, as the data is not there" in out
    assert "input [2, 1, 28, 28]" in out


def test_given_weights_are_those_that_are_measured(config, tmp_path, capsys):
    model = LeNet()
    model.classifier[4].weight.set_value(np.full([84, 10], 7.25, "float32"))
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    inspect_config(config(), values=True, weights=str(tmp_path / "w"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("classifier.4.weight")]
    assert line.split()[3:] == ["7.25", "0", "7.25", "7.25", "0.0%"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"shapes": ["1,40,40"]}, r"The model LeNet failed on inputs \[2, 1, 40, 40\] float32: ValueError"),
        ({"shapes": ["1,a"]}, "--shape 1,a: expected the extents of one sample, such as 1,28,28."),
        ({"weights": "nowhere"}, "--weights and --channel are about values; give --values too."),
    ],
)
def test_options_that_make_no_sense_are_refused(options, expected, config):
    with pytest.raises(ConfigError, match=expected):
        inspect_config(config(), **options)
