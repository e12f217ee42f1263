"""Images of any kind become what the model was trained on, and what cannot be read is said plainly."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from exporting import WEIGHTS, Result, command
from idx_files import idx
from PIL import Image

from paddle_resume import Trainer
from paddle_resume.builders.data import build_data
from paddle_resume.builders.model import model_with_weights
from paddle_resume.builders.run import evaluate_weights
from paddle_resume.config import load_config
from paddle_resume.data.idx import read_idx
from paddle_resume.errors import DataError, ExportError
from paddle_resume.inference.description import ImageFormat, Interface, TensorSpec
from paddle_resume.inference.images import fit_image, looks_inverted, read_image
from paddle_resume.inference.predict import Classifier

IMAGES, LABELS = "data/t10k-images-idx3-ubyte", "data/t10k-labels-idx1-ubyte"
GRAY = ImageFormat(mode="L", height=28, width=28, background=0)
COLOR = ImageFormat(mode="RGB", height=4, width=6, background=0)


@pytest.fixture
def here(digits_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `digits_export` as the working directory, with 20 test images as `images/NN.png`."""
    folder = tmp_path / "work"
    shutil.copytree(digits_export, folder)
    monkeypatch.chdir(folder)
    Path("images").mkdir()
    for i, pixels in enumerate(read_idx(IMAGES)[:20]):
        Image.fromarray(pixels).save(f"images/{i:02}.png")
    return folder


def predict(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    return command(capsys, "predict", *arguments)


def rows(done: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done.out)))


# ---------------------------------------------------------------- the same as in training


def test_png_files_get_the_classes_that_trainer_predict_gives_the_same_images(here, capsys):
    config = load_config("c.yaml")
    model, _, _ = model_with_weights(config, WEIGHTS)
    test = build_data(config).test
    expected = Trainer(model, {}, seed=1).predict(test.subset(0, 20))
    done = predict(capsys, "export/mnist", "images", "--csv")
    assert done.code == 0 and not done.err
    assert [row["class"] for row in rows(done)] == [str(i) for i in expected.argmax(axis=1)]
    assert [row["file"] for row in rows(done)] == [f"images/{i:02}.png" for i in range(20)]
    exact = expected.astype(np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([float(row["probability"]) for row in rows(done)], probabilities.max(axis=1), rtol=1e-5)
    second = np.argsort(-expected, axis=1)[:, 1]
    assert [row["second_class"] for row in rows(done)] == [str(i) for i in second]


def test_an_export_and_its_checkpoint_predict_the_same_bits(here, capsys):
    export = predict(capsys, "export/mnist", "images", "--json")
    checkpoint = predict(capsys, "-c", "c.yaml", "--weights", WEIGHTS, "images", "--json")
    assert export.code == checkpoint.code == 0
    assert export.out == checkpoint.out
    assert len(json.loads(export.out)["predictions"]) == 20


def test_the_accuracy_on_idx_files_is_that_of_evaluate_gzipped_or_not(here, capsys):
    expected = evaluate_weights(load_config("c.yaml"), WEIGHTS)["acc"]
    Path("images.gz").write_bytes(gzip.compress(Path(IMAGES).read_bytes()))
    for name in (IMAGES, "images.gz"):
        done = predict(capsys, "export/mnist", name, "--labels", LABELS)
        assert done.code == 0
        assert done.out.splitlines()[-1] == f"accuracy: {expected:.6g} ({round(expected * 200)} of 200)"
    assert "and 100 more; --csv or --json lists all" in done.out
    found = json.loads(predict(capsys, "export/mnist", IMAGES, "--labels", LABELS, "--json").out)
    assert found["accuracy"] == expected
    assert [row["label"] for row in found["predictions"]] == [str(i) for i in read_idx(LABELS)]


def test_the_table_names_file_class_probability_and_the_two_next_best(here, capsys):
    done = predict(capsys, "export/mnist", "images/00.png")
    row = json.loads(predict(capsys, "export/mnist", "images/00.png", "--json").out)["predictions"][0]
    following = ", ".join(f"{other['class']} {other['probability']:.4f}" for other in row["next"])
    assert done.out.splitlines()[0].split() == ["file", "class", "probability", "next"]
    expected = ["images/00.png", row["class"], f"{row['probability']:.4f}", *following.split()]
    assert done.out.splitlines()[1].split() == expected
    assert len(row["next"]) == 2 and "\x1b" not in done.out


def test_the_batch_size_changes_no_class(here, capsys):
    one, all_at_once = (predict(capsys, "export/mnist", IMAGES, "--csv", "--batch-size", n) for n in (1, 500))
    assert [row["class"] for row in rows(one)] == [row["class"] for row in rows(all_at_once)]


# ---------------------------------------------------------------- black on white


def test_an_inverted_image_is_noticed_and_invert_makes_it_the_original(here, capsys):
    Path("paper").mkdir()
    for i, pixels in enumerate(read_idx(IMAGES)[:20]):
        Image.fromarray(255 - pixels).save(f"paper/{i:02}.png")
    done = predict(capsys, "export/mnist", "paper", "--csv")
    assert done.code == 0
    assert done.err.startswith("hint: 20 of 20 images have a bright background, while the model knows a dark one")
    inverted = predict(capsys, "export/mnist", "paper", "--csv", "--invert")
    assert not inverted.err
    original = rows(predict(capsys, "export/mnist", "images", "--csv"))
    assert [{**row, "file": ""} for row in rows(inverted)] == [{**row, "file": ""} for row in original]


def test_idx_images_are_inverted_too(here, capsys):
    Path("paper-idx3-ubyte").write_bytes(idx(255 - read_idx(IMAGES)))
    inverted = predict(capsys, "export/mnist", "paper-idx3-ubyte", "--csv", "--invert")
    original = predict(capsys, "export/mnist", IMAGES, "--csv")
    assert [row["probability"] for row in rows(inverted)] == [row["probability"] for row in rows(original)]


@pytest.mark.parametrize(
    "level, background, inverted", [(255, 0, True), (0, 0, False), (0, 255, True), (128, 0, False)]
)
def test_the_hint_compares_the_edge_with_that_of_the_training_images(level, background, inverted):
    wanted = ImageFormat(mode="L", height=9, width=9, background=background)
    pixels = np.full([9, 9, 1], level, np.uint8)
    pixels[2:7, 2:7] = 255 - level  # What is in the middle does not count.
    assert looks_inverted(pixels, wanted) is inverted


# ---------------------------------------------------------------- images of every kind


def digit() -> np.ndarray:
    pixels = np.zeros([28, 28], np.uint8)
    pixels[5:23, 12:16] = np.arange(18, dtype=np.uint8)[:, None] * 14
    return pixels


@pytest.mark.parametrize(
    "name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.pgm", "a.gif", "rgb.png", "rgba.png", "p.png"]
)
def test_lossless_files_of_the_right_size_keep_every_pixel(name, tmp_path):
    image = Image.fromarray(digit())
    mode = {"rgb": "RGB", "rgba": "RGBA", "p": "P"}.get(name.split(".")[0])
    (image.convert(mode) if mode else image).save(tmp_path / name, **({"lossless": True} if "webp" in name else {}))
    assert read_image(tmp_path / name, GRAY)[..., 0].tobytes() == digit().tobytes()


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    Image.fromarray(digit().astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", GRAY)[..., 0].tobytes() == digit().tobytes()


def test_one_bit_becomes_black_and_white():
    pixels = fit_image(Image.fromarray(digit() > 100), GRAY)
    assert set(np.unique(pixels)) == {0, 255}


def test_transparent_parts_are_white_whatever_color_lies_below():
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    image.putpixel((3, 4), (0, 0, 0, 255))
    pixels = fit_image(image, GRAY)[..., 0]
    assert pixels[4, 3] == 0 and (np.delete(pixels.ravel(), 4 * 28 + 3) == 255).all()


def test_a_larger_image_keeps_its_proportions_and_the_rest_takes_the_level_of_its_edge():
    pixels = fit_image(Image.fromarray(np.full([100, 50], 200, np.uint8)), GRAY)
    assert pixels.shape == (28, 28, 1) and (pixels == 200).all()
    marked = np.full([100, 50], 200, np.uint8)
    marked[10:90, 10:40] = 0
    columns = np.flatnonzero((fit_image(Image.fromarray(marked), GRAY)[..., 0] < 100).any(axis=0))
    assert columns[0] + columns[-1] == 27 and len(columns) in (8, 9, 10)  # 30 of 100 pixels, in the middle


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_a_line_of_one_pixel_is_an_image_too(size):
    assert fit_image(Image.new("L", size, 9), GRAY).shape == (28, 28, 1)


def test_a_color_model_gets_color_and_a_gray_image_three_equal_channels():
    image = Image.new("RGB", (6, 4), (1, 2, 3))
    assert fit_image(image, COLOR).tobytes() == bytes([1, 2, 3]) * 24
    assert fit_image(Image.new("L", (6, 4), 7), COLOR).tobytes() == bytes([7]) * 72
    assert fit_image(Image.new("RGB", (12, 4), (1, 2, 3)), COLOR).tobytes() == bytes([1, 2, 3]) * 24


def test_a_photo_is_turned_upright_as_its_exif_data_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(digit()[::-1, ::-1]).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png", GRAY)[..., 0].tobytes() == digit().tobytes()


def test_pixels_without_a_white_are_refused(tmp_path):
    Image.fromarray(np.zeros([28, 28], np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff cannot be used: its pixels are floating point"):
        read_image(tmp_path / "a.tiff", GRAY)


def test_an_image_too_large_to_unpack_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    Image.fromarray(digit()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="too large"):
        read_image(tmp_path / "a.png", GRAY)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg", "a.tiff", "a.webp", "a.bmp"])
def test_damaged_files_give_pixels_or_a_data_error_and_nothing_else(name, tmp_path):
    path, chance = tmp_path / name, random.Random(0)
    Image.fromarray(digit()).save(path)
    content = path.read_bytes()
    for _ in range(60):
        broken = bytearray(content[: chance.randrange(len(content))] if chance.random() < 0.4 else content)
        for _ in range(chance.randrange(4)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken)
        try:
            assert read_image(path, GRAY).shape == (28, 28, 1)
        except DataError as error:
            assert str(path) in str(error)


# ---------------------------------------------------------------- mistakes


def test_what_cannot_be_read_has_a_message_each_and_the_others_their_predictions(here, capsys):
    Path("notes.txt").write_text("no image")
    Path("cut.png").write_bytes(Path("images/00.png").read_bytes()[:60])
    Path("empty").mkdir()
    Path("bad.gz").write_bytes(b"\x1f\x8bno")
    arguments = ["images/00.png", "notes.txt", "gone.png", "cut.png", "empty", "bad.gz", "images/01.png"]
    done = predict(capsys, "export/mnist", *arguments, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert [row["file"] for row in found["predictions"]] == ["images/00.png", "images/01.png"]
    said = {row["file"]: row["reason"] for row in found["failed"]}
    assert "notes.txt is not an image; expected one of" in said["notes.txt"]
    assert "gone.png does not exist" in said["gone.png"]
    assert "cut.png" in said["cut.png"] and "bad.gz" in said["bad.gz"]
    assert "empty is a folder without images" in said["empty"]
    assert sorted(done.err.splitlines()) == sorted(f"error: {reason}" for reason in said.values())


def test_if_nothing_can_be_predicted_it_ends_with_2(here, capsys):
    done = predict(capsys, "export/mnist", "gone.png", "data/t10k-labels-idx1-ubyte")
    assert done.code == 2 and not done.out
    assert "gone.png does not exist" in done.err and "Perhaps the image and label files are swapped" in done.err


def test_a_folder_gives_its_images_by_name_at_any_depth_and_nothing_else(here, capsys):
    Path("images/deep").mkdir()
    shutil.move("images/03.png", "images/deep/zero.PNG")
    Path("images/.hidden.png").write_bytes(b"")
    Path("images/readme.md").write_text("these are digits")
    done = predict(capsys, "export/mnist", "images", "--csv")
    assert done.code == 0 and len(rows(done)) == 20
    assert rows(done)[-1]["file"] == "images/deep/zero.PNG"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["images/00.png"], "The first argument names the export"),
        (["export/mnist"], "No image is named"),
        (["-c", "c.yaml", "images/00.png"], "-c CONFIG and --weights PREFIX go together"),
        (["--weights", "ck/mnist_step25", "images/00.png"], "-c CONFIG and --weights PREFIX go together"),
        (["export/mnist", "images/00.png", "-o", "run.seed=1"], "-o changes a config"),
        (["export/mnist", "images/00.png", "--json", "--csv"], "exclude each other"),
        (["export/mnist", "images", "--labels", "data/t10k-labels-idx1-ubyte"], "200 labels, and 20 images were named"),
        (["export/mnist", "images", "--labels", "gone"], "gone does not exist"),
        (["export/mnist", "gone.png", "data/t10k-images-idx3-ubyte", "--labels", LABELS], "needs every image"),
    ],
    ids=["export", "images", "weights", "config", "override", "forms", "count", "labels", "part"],
)
def test_a_mistake_gives_a_plain_message_and_code_2(arguments, said, here, capsys):
    done = predict(capsys, *arguments)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_an_export_of_another_paddle_says_so(here, capsys, monkeypatch):
    def refuse(path: str) -> None:
        raise ValueError("not exists")

    monkeypatch.setattr(paddle.jit, "load", refuse)
    done = predict(capsys, "export/mnist", "images")
    assert done.code == 2 and f"was written by Paddle {paddle.__version__}, and" in done.err


# ---------------------------------------------------------------- other models


def interface(**changed: object) -> Interface:
    spec = TensorSpec(name="x", shape=[None, 1, 28, 28], dtype="float32")
    scores = TensorSpec(name="y", shape=[None, 3], dtype="float32")
    values = {"inputs": [spec], "outputs": [scores], "scores": "logits", "classes": None, "image": GRAY, **changed}
    return Interface.model_validate(values)


@pytest.mark.parametrize(
    "kind, given, expected, unit",
    [
        ("logits", [0.0, np.log(2), np.log(5)], [0.125, 0.25, 0.625], "probability"),
        ("log_probabilities", np.log([0.2, 0.3, 0.5]), [0.2, 0.3, 0.5], "probability"),
        ("probabilities", [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], "probability"),
        ("scores", [-7.0, 3.0, 11.0], [-7.0, 3.0, 11.0], "score"),
    ],
)
def test_outputs_become_probabilities_as_the_loss_says(kind, given, expected, unit):
    classifier = Classifier(interface(scores=kind), lambda inputs: [np.tile(given, (len(inputs[0]), 1))], "it")
    np.testing.assert_allclose(classifier.scores(np.zeros([2, 28, 28, 1], np.uint8)), [expected] * 2, rtol=1e-12)
    assert classifier.unit == unit and classifier.classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"image": None}, "does not say how an image becomes its input"),
        ({"outputs": [TensorSpec(name="y", shape=[None, 3, 4], dtype="float32")]}, "one score for each of several"),
        ({"outputs": [TensorSpec(name="y", shape=[None, 1], dtype="float32")]}, "one score for each of several"),
        ({"outputs": []}, "one score for each of several"),
    ],
    ids=["image", "rank", "one", "none"],
)
def test_a_model_that_does_not_classify_images_is_refused(changed, said):
    with pytest.raises(ExportError, match=said):
        Classifier(interface(**changed), lambda inputs: inputs, "it")
