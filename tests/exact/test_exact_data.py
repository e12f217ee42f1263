"""The exactness matrix on other data than digits: a language model, and a folder of augmented images."""

from __future__ import annotations

import shutil

import numpy as np
import paddle
import pytest
from forking import assert_exact_resume, run_life
from PIL import Image
from places import PROGRAMS

from paddle_resume.testing import Kill, first_differences
from paddle_resume.testing.kill_plan import Plan

PROGRAM = str(PROGRAMS / "train_own_data.py")
RUN = """
run: {name: tiny, seed: 7}
trainer: {epochs: 2, log_every: 2}
checkpoint: {every_steps: 3}
optimizer: {name: AdamW, lr: {name: CosineAnnealingDecay, learning_rate: 0.01, T_max: auto}}
"""
TEXT = """
model: {name: TransformerLM, vocab_size: auto, context: auto, width: 16, depth: 1, heads: 2, dropout: 0.2}
data: {name: TextDataset, files: CORPUS, context: 16, global_batch_size: 8, valid: 12, test: 12}
metrics: [{name: Perplexity}, {name: Accuracy}]
"""
IMAGES = """
model: {name: mobilenet_v1, scale: 0.25, num_classes: auto}
data:
  name: ImageFolder
  root: FOLDER
  size: 16
  augment:
    - {name: RandomHorizontalFlip}
    - {name: RandomCrop, padding: 2}
    - {name: RandomRotation, degrees: 10}
    - {name: ColorJitter, brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.1}
    - {name: RandomErasing}
  global_batch_size: 8
  num_workers: 2
  valid: 12
  test: 12
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """88 windows of 16 characters: 8 steps of 8 windows an epoch."""
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    letters = np.random.RandomState(0).choice(list("aeiou lnrst"), 88 * 16 + 1)
    path.write_text("".join(letters), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """88 images of two classes: 8 steps of 8 images an epoch."""
    root = tmp_path_factory.mktemp("images") / "two"
    draw = np.random.RandomState(0)
    for name, low in (("dark", 0), ("light", 60)):
        (root / name).mkdir(parents=True)
        for i in range(44):
            pixels = draw.randint(low, low + 190, (14, 18, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def from_yaml(tmp_path, section, **values):
    text = RUN + section
    for name, value in values.items():
        text = text.replace(name, str(value))
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    return ["-m", "paddle_resume", "train", "-q", "-c", str(tmp_path / "c.yaml")]


@pytest.mark.full
def test_a_language_model_from_yaml_survives_kills_in_a_step_in_a_save_and_between_epochs(corpus, tmp_path):
    kills = [Kill("step", 4), Kill("save", 4, 5), Kill("epoch")]
    assert_exact_resume(from_yaml(tmp_path, TEXT, CORPUS=corpus), tmp_path, kills)


def test_augmented_images_from_yaml_with_workers_survive_kills_in_a_step_in_a_save_and_between_epochs(folder, tmp_path):
    kills = [Kill("step", 4), Kill("save", 4, 5), Kill("epoch")]
    assert_exact_resume(from_yaml(tmp_path, IMAGES, FOLDER=folder), tmp_path, kills)


# What dropout draws has to be restored. On Paddle 2.6 it is a pure function of the step: another owner is left out.
DROPOUT = ("rng", "rng.") if paddle.__version__[0] != "2" else ("optimizer", "tensor embedding_0.w_0_moment1_0 of ")
# Of each kind: arguments before and after the kill, and what the proof must say when one owner is not restored.
FROM_PYTHON = {
    "text": (("0", "0"), *DROPOUT),
    "images": (("2", "0"), "data", "data.samples"),  # whose augmentation has the epoch and the index for a key
}


@pytest.mark.parametrize("kind", FROM_PYTHON)
def test_a_run_from_python_resumes_exactly_and_not_when_an_owner_is_forgotten(kind, corpus, folder, tmp_path):
    workers, owner, said = FROM_PYTHON[kind]
    source = {"text": corpus, "images": folder}[kind]
    # Saved inline, so that the save at step 3 is there when step 5 is killed.
    before, after = ([PROGRAM, kind, str(source), count, "--inline"] for count in workers)
    straight, killed, forgetful = (tmp_path / name for name in ("straight", "killed", "forgetful"))
    report = tmp_path / "report"
    assert run_life(before, straight, Plan(str(report)), timeout=300)
    assert not run_life(before, killed, Plan(str(report), Kill("step", 5)), timeout=300)
    shutil.copytree(killed, forgetful)
    assert run_life(after, killed, Plan(str(report)), timeout=300)
    assert not report.exists()
    assert first_differences(straight, killed) == []
    assert run_life(after, forgetful, Plan(str(report), None, [owner]), timeout=300)
    assert report.read_text().startswith(f"after the restore, {said}")
    assert first_differences(straight, forgetful)
