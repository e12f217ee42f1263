"""Curves and mistakes: what is drawn is what the run logged and what the model got wrong."""

from __future__ import annotations

import sys

import forking
import numpy as np
import paddle
import pytest
from PIL import Image
from places import ROOT

from paddle_resume import Monitoring, SaveSchedule, Trainer
from paddle_resume.config import load_config
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.errors import ConfigError, DataError, PaddleResumeError
from paddle_resume.loggers import JsonlLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.pictures.curves import draw_curves
from paddle_resume.pictures.figure import check_target, save_figure
from paddle_resume.pictures.history import read_history
from paddle_resume.pictures.misclassified import draw_misclassified, find_misclassified


def log(folder, *lines):
    """A run's metrics.jsonl with these (step, values) records."""
    logger = JsonlLogger(folder)
    for step, values in lines:
        logger.log_scalars(values, step)
    logger.close()
    return folder


def trained(step, loss, **more):
    return step, {"train/loss": loss, "train/lr": 0.1, **more}


@pytest.fixture
def run(tmp_path):
    """Two epochs of four steps, logged every three, then test data."""
    return log(
        tmp_path / "log/small",
        *(trained(3, 0.9), trained(4, 0.5), (0, {"valid/loss": 0.8})),
        *(trained(7, 0.4), trained(8, 0.2), (1, {"valid/loss": 0.3}), (1, {"test/loss": 0.25})),
    )


def lines_in(panel):
    """Each drawn line's points by its label."""
    return {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in panel.get_lines()}


def program(tool, *arguments, folder, **environment):
    return forking.run([ROOT / "tools" / f"{tool}.py", *arguments], folder, **environment)


def test_an_evaluation_lies_at_the_step_at_which_it_was_made(run, tmp_path):
    history = read_history(run, tmp_path / "checkpoint")
    loss = history.metrics["loss"]
    assert (history.name, history.steps_per_epoch, history.resumes) == ("small", 4, [])
    assert (loss["train"].steps, loss["train"].values) == ([3, 4, 7, 8], [0.9, 0.5, 0.4, 0.2])
    assert (loss["valid"].steps, loss["valid"].values) == ([4, 8], [0.8, 0.3])
    assert (loss["test"].steps, loss["test"].values) == ([8], [0.25])


def test_an_evaluation_that_was_logged_at_its_step_lies_there_too(tmp_path):
    run = log(tmp_path / "run", trained(4, 0.5), (6, {"valid/loss": 0.7}), trained(8, 0.4), (8, {"valid/loss": 0.6}))
    history = read_history(run, tmp_path)
    assert history.metrics["loss"]["valid"].steps == [6, 8]
    assert history.steps_per_epoch is None, "nothing tells how long an epoch is"


def test_an_epoch_of_training_is_the_mean_of_its_records_weighted_by_their_steps(run, tmp_path):
    loss = read_history(run, tmp_path).metrics["loss"]["train"]
    epochs, values = loss.by_epoch(4, mean=True)
    assert epochs == [1, 2]
    assert values == pytest.approx([(3 * 0.9 + 0.5) / 4, (3 * 0.4 + 0.2) / 4])


def test_what_is_drawn_is_what_was_logged(run, tmp_path):
    figure = draw_curves([read_history(run, tmp_path)])
    by_step, by_epoch, rate, _ = figure.axes
    assert lines_in(by_step) == {
        "train": [[3, 0.9], [4, 0.5], [7, 0.4], [8, 0.2]],
        "valid": [[4, 0.8], [8, 0.3]],
        "test": [[8, 0.25]],
    }
    assert lines_in(by_epoch)["valid"] == [[1, 0.8], [2, 0.3]]
    assert (by_step.get_ylabel(), rate.get_ylabel()) == ("loss", "learning rate")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "valid", "test"]


def test_any_metric_gets_a_row_between_accuracy_and_learning_rate(tmp_path):
    run = log(tmp_path / "run", trained(4, 0.5, **{"train/f1": 0.3, "train/acc": 0.4}))
    figure = draw_curves([read_history(run, tmp_path)])
    assert [panel.get_ylabel() for panel in figure.axes] == ["loss", "accuracy", "f1", "learning rate"]


def test_several_runs_lie_over_each_other_in_colors_of_their_own(run, tmp_path):
    other = log(tmp_path / "log/other", trained(4, 0.7), (0, {"valid/loss": 0.9}))
    figure = draw_curves([read_history(each, tmp_path) for each in (run, other)])
    lines = {line.get_label(): line.get_color() for line in figure.axes[0].get_lines()}
    assert set(lines) == {"small, train", "small, valid", "small, test", "other, train", "other, valid"}
    assert lines["small, train"] == lines["small, valid"] != lines["other, train"]


def test_a_real_run_that_was_resumed_shows_where(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (32, 28, 28)).astype("uint8")
    data = ImageArrays(images, np.arange(32) % 10, num_classes=10)
    for steps in (3, 6, 8):
        model = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(784, 10))
        Trainer(
            model,
            paddle.optimizer.SGD(0.1, parameters=model.parameters()),
            loss=paddle.nn.CrossEntropyLoss(),
            metrics=[Accuracy()],
            save_dir=tmp_path / "checkpoint",
            name="real",
            logger=JsonlLogger(tmp_path / "log/real"),
            monitoring=Monitoring(log_every=2),
            schedule=SaveSchedule(background=False),
        ).train(data, epochs=2, max_steps=steps, global_batch_size=8)
    history = read_history(tmp_path / "log/real", tmp_path / "checkpoint")
    assert (history.resumes, history.steps_per_epoch) == ([3, 6], 4)
    panel, by_epoch = draw_curves([history]).axes[:2]
    assert [x for label, points in lines_in(panel).items() if label != "train" for x, _ in points[:1]] == [3, 6]
    assert lines_in(by_epoch)["resumed"][0][0] == 0.75
    assert read_history(tmp_path / "log/real", tmp_path / "elsewhere").resumes == []


def test_the_command_writes_a_png_and_an_svg(run, tmp_path):
    for name, start in (("a.png", b"\x89PNG"), ("deeper/a.svg", b"<?xml")):
        done = program("plot", run, "--output", name, folder=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"Wrote {name}.\n", "")
        assert (tmp_path / name).read_bytes().startswith(start)
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5, "something is drawn"


def test_the_same_run_gives_the_same_files(run, tmp_path):
    for suffix in (".png", ".svg"):
        files = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for file in files:
            save_figure(draw_curves([read_history(run, tmp_path)]), file)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_folder_without_records_is_refused_with_the_runs_that_are_there(run, tmp_path):
    with pytest.raises(DataError, match=r"There is no .*nothing/metrics.jsonl; .* runs that have one: .*log/small"):
        read_history(tmp_path / "log/nothing", tmp_path)
    (tmp_path / "log/empty").mkdir()
    (tmp_path / "log/empty/metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no record yet"):
        read_history(tmp_path / "log/empty", tmp_path)


@pytest.mark.parametrize("line", ["no json", "[]", '{"step": 1, "train/loss": "high"}', '{"train/loss": 1}'])
def test_a_file_that_is_no_log_of_a_run_is_refused(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match="holds a line that is no record of a run"):
        read_history(tmp_path, tmp_path)


def test_a_line_that_is_still_being_written_is_left_out(run, tmp_path):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "train/lo')
    assert read_history(run, tmp_path).metrics["loss"]["train"].steps[-1] == 8


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match=r"--output a.gif: expected a name that ends in .png, .svg or .pdf"):
        check_target("a.gif")


def test_without_matplotlib_one_paragraph_tells_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PaddleResumeError, match="pip install matplotlib"):
        draw_curves([read_history(run, run)])


# ---------------------------------------------------------------- mistakes

MINE = """
import numpy as np
import paddle

class Shades(paddle.io.Dataset):
    '''Image i is of the shade i / 20, and its label says whether that is more than a half.'''

    def __init__(self, mode="train"):
        self.shift = 0 if mode == "train" else 1

    def __getitem__(self, i):
        return np.full([1, 4, 4], i / 20, "float32"), np.array([int(i >= 10)], "int64")

    def __len__(self):
        return 20

class Threshold(paddle.nn.Layer):
    '''Says 1 from shade 0.675 on: images 10 to 13 are taken for 0, the first of them most surely.'''

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(4.0))

    def forward(self, x):
        score = (x.mean([1, 2, 3]) - 0.675) * self.scale
        return paddle.stack([-score, score], 1)

class NotAClassifier(Threshold):
    def forward(self, x):
        return x
"""


@pytest.fixture
def shades(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shades_here.py").write_text(MINE)
    (tmp_path / "a.yaml").write_text(
        "run: {name: shades}\nmodel: {name: 'shades_here:Threshold'}\n"
        "data: {name: 'shades_here:Shades', global_batch_size: 3}\n"
    )
    paddle.save({"scale": paddle.to_tensor([4.0])}, "w.pdparams")
    yield lambda *overrides: load_config("a.yaml", overrides)
    sys.modules.pop("shades_here", None)


def test_the_surest_mistakes_come_first_with_label_prediction_and_probability(shades):
    found = find_misclassified(shades(), "w.pdparams", "test", count=3)
    assert (found.wrong, found.total) == (4, 20)
    assert [each.index for each in found.shown] == [10, 11, 12]
    assert {(each.label, each.prediction) for each in found.shown} == {(1, 0)}
    expected = [1 / (1 + np.exp(-2 * 4 * (0.675 - i / 20))) for i in (10, 11, 12)]
    assert [each.probability for each in found.shown] == pytest.approx(expected, rel=1e-5)
    assert found.shown[0].image.tobytes() == np.full([1, 4, 4], 0.5, "float32").tobytes()


def test_the_grid_holds_each_image_with_its_text(shades):
    found = find_misclassified(shades(), "w.pdparams")
    figure = draw_misclassified(found, ("dark", "bright"), "a title")
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[0] == f"bright taken for\ndark\n{found.shown[0].probability:.1%}"
    assert sum(bool(panel.images) for panel in figure.axes) == 4


def test_the_command_counts_and_draws(shades, tmp_path):
    done = program("wrong", "-c", "a.yaml", "--weights", "w", "--count", 2, "--output", "w.svg", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "4 of 20 test images are classified wrongly.",
        "Wrote w.svg, the 2 of them that the model was surest of.",
    ]
    assert (tmp_path / "w.svg").read_bytes().startswith(b"<?xml")


def test_a_model_without_a_mistake_gets_no_picture(shades, tmp_path):
    arguments = ["-c", "a.yaml", "--weights", "w", "--split", "valid", "-o", "data.valid=5"]
    done = program("wrong", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 of 5 valid images are classified wrongly.\n")
    assert not (tmp_path / "wrong.png").exists()


def test_a_model_that_gives_no_class_scores_is_refused(shades):
    with pytest.raises(
        ConfigError, match=r"gives scores \[B, classes\] .* found images \[3, 1, 4, 4\], output \[3, 1,"
    ):
        find_misclassified(shades("model.name=shades_here:NotAClassifier"), "w.pdparams")


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"count": 0}, "--count 0: expected 1 or more"), ({"split": "tset"}, "--split tset: the data has no such part")],
)
def test_options_that_make_no_sense_are_refused(options, expected, shades):
    with pytest.raises(ConfigError, match=expected):
        find_misclassified(shades(), "w.pdparams", **options)
