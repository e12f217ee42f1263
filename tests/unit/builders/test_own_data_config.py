"""Text and images through a config: what is filled in from the data, what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image
from places import CONFIGS

from paddle_resume.builders.data import build_data
from paddle_resume.builders.run import build_run, evaluate_weights
from paddle_resume.config import load_config
from paddle_resume.data.augment import RandomCrop, RandomHorizontalFlip
from paddle_resume.errors import CheckpointError, ConfigError, InexactResumeError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: a text of 3,000 characters, 10 of them different, and 24 images of three classes."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("0123456789" * 300)
    draw = np.random.RandomState(0)
    for i in range(24):
        path = Path("images") / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    return tmp_path


def text(*overrides):
    small = ["model.width=8", "model.depth=1", "model.heads=2", "data.context=16", "trainer.max_steps=2"]
    files = ["run.device=cpu", "data.files=a.txt", "checkpoint.background=false"]
    return load_config(CONFIGS / "text.yaml", [*small, *files, *overrides])


def images(*overrides):
    small = ["data.size=16", "model.name=mobilenet_v1", "model.scale=0.25", "model.num_classes=auto"]
    quick = ["run.device=cpu", "trainer.epochs=1", "data.num_workers=0", "checkpoint.background=false"]
    return load_config(CONFIGS / "image_folder.yaml", [*quick, *small, *overrides])


def refusal(config):
    with pytest.raises(ConfigError) as caught:
        build_run(config)
    return str(caught.value)


@pytest.mark.parametrize("name", ["text", "image_folder"])
def test_each_config_in_the_repository_is_whole(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.run.name == name
    assert config.optimizer.lr.args["T_max"] == "auto"


def test_auto_arguments_of_the_model_come_from_the_text(folder, capsys):
    run = build_run(text())
    assert (run.trainer.model.vocab_size, run.trainer.model.context) == (10, 16)
    run.train("auto", False, False)
    said = capsys.readouterr().out
    assert "; vocab_size 10, context 16" in said
    assert "no more than how often each token occurs would have a perplexity of 10" in said


def test_auto_arguments_of_the_model_come_from_the_class_folders(folder):
    run = build_run(images())
    assert run.trainer.model.fc.weight.shape[-1] == 3
    assert {len(part) for part in (run.data.valid, run.data.test)} == {3, 2}


def test_the_record_holds_what_auto_stood_for_and_a_change_of_it_stops_the_resume(folder):
    build_run(text()).train("auto", False, False)
    Path("a.txt").write_text("0123456789x" * 300)
    with pytest.raises(InexactResumeError) as caught:
        build_run(text("trainer.max_steps=3")).train("auto", False, False)
    assert "model.vocab_size: 10 -> 11" in str(caught.value)
    assert "\n  data digest: " in str(caught.value)


def test_other_transforms_stop_the_resume_and_are_named(folder):
    build_run(images("trainer.max_steps=1")).train("auto", False, False)
    with pytest.raises(InexactResumeError) as caught:
        build_run(images("trainer.max_steps=1", "data.augment.1.padding=5")).train("auto", False, False)
    before, after = str(caught.value).splitlines()[1].split(" -> ")
    assert before.startswith("  data.augment: ") and "padding: 4" in before and "padding: 5" in after


def test_weights_are_evaluated_with_the_arguments_that_the_data_gives(folder):
    results = build_run(text()).train("auto", False, False)
    again = evaluate_weights(text(), "text.pdparams")
    assert again == {name: results[f"test/{name}"] for name in ("loss", "perplexity", "acc")}
    Path("a.txt").write_text("012345678" * 300)
    with pytest.raises(CheckpointError, match=r"tokens\.weight has shape \[10, 8\] in the file and \[9, 8\]"):
        evaluate_weights(text(), "text.pdparams")


def test_transforms_are_built_in_the_order_of_the_config_for_the_training_part_only(folder):
    splits = build_data(images("data.augment=[{name: RandomCrop, padding: 1}, {name: RandomHorizontalFlip}]"))
    assert splits.train.augment == (RandomCrop(1), RandomHorizontalFlip())
    assert splits.valid.augment == splits.test.augment == ()


def test_a_transform_of_ones_own_is_named_by_its_import_path(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    Path("my_changes.py").write_text(
        "from paddle_resume.data.augment import Transform\n"
        "class Upside(Transform):\n"
        "    def __call__(self, image, generator):\n"
        "        return image.rotate(180)\n"
    )
    (upside,) = build_data(images("data.augment=[{name: my_changes:Upside}]")).train.augment
    assert type(upside).__name__ == "Upside"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.augment.0.name=RandomFlip", "data.augment.0.name: RandomFlip is not known; expected a subclass of "),
        ("data.augment.0.name=RandomVerticalFlip", "did you mean RandomHorizontalFlip?"),
        ("data.augment.1.paddin=3", "for paddin, did you mean padding?"),
        ("data.augment.2.degrees=-5", "degrees is -5; expected more than 0 and at most 180"),
        ("data.augment.0.name=Transform", "an abstract base"),
    ],
)
def test_a_wrong_transform_is_told_with_its_place(folder, override, expected):
    assert expected in refusal(images(override))


def test_data_that_take_no_transforms_or_root_say_so(folder):
    flip = "data.augment=[{name: RandomHorizontalFlip}]"
    assert "data.augment: TextDataset takes no argument of that name" in refusal(text(flip))
    assert "data.augment: mnist takes no transforms" in refusal(load_config(CONFIGS / "mnist.yaml", [flip]))


def test_auto_that_the_data_cannot_answer_is_told_with_what_it_can():
    digits = load_config(CONFIGS / "mnist_mlp.yaml", ["model.hidden=auto", "data.root=null"])
    assert (
        "model.hidden: auto asks the data, and mnist tells num_classes, channels of itself; give a value here."
        in refusal(digits)
    )


class Described(paddle.io.Dataset):
    """Data of somebody else's that tells of itself, cut into parts by the builder."""

    def __init__(self, mode="train"):
        self.mode = mode

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return np.ones((1, 28, 28), np.float32), np.array([index % 4])

    def describe(self):
        return {"num_classes": 4}


def test_a_dataset_of_ones_own_answers_auto_also_when_its_last_samples_are_set_aside():
    overrides = ["data.name=test_own_data_config:Described", "model.num_classes=auto", "data.fallback=null"]
    run = build_run(load_config(CONFIGS / "mnist_mlp.yaml", overrides))
    assert run.trainer.model.output.weight.shape == [500, 4]
    assert (len(run.data.train), len(run.data.valid), run.data.test.mode) == (10, 2, "test")
