"""ImageFolder and its transforms: layout and parts, samples that depend on nothing but their key, broken files."""

from __future__ import annotations

import random
import shutil

import numpy as np
import paddle
import pytest
from PIL import Image

from paddle_resume.data import augment
from paddle_resume.data.feed import Feed
from paddle_resume.data.image_folder import ImageFolder
from paddle_resume.errors import ConfigError, DataError

EVERY_TRANSFORM = (
    augment.RandomHorizontalFlip(),
    augment.RandomCrop(padding=2),
    augment.RandomRotation(degrees=30),
    augment.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
    augment.RandomErasing(p=0.5),
)


def write_images(folder, count, size=(12, 10), mode="RGB", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.RandomState(seed)
    for i in range(count):
        pixels = draw.randint(0, 256, (*size[::-1], 3)).astype(np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}.png")


@pytest.fixture
def flat(tmp_path):
    """20 images of cats and 10 of dogs, with something that is no image beside them."""
    write_images(tmp_path / "flat" / "dog", 10, seed=1)
    write_images(tmp_path / "flat" / "cat", 20, seed=2)
    (tmp_path / "flat" / "cat" / "notes.txt").write_text("cats")
    (tmp_path / "flat" / ".hidden").mkdir()
    return tmp_path / "flat"


@pytest.fixture
def nested(flat, tmp_path):
    root = tmp_path / "nested"
    shutil.copytree(flat, root / "train")
    for name, count in (("cat", 3), ("dog", 2)):
        write_images(root / "test" / name, count, seed=3)
    return root


def files_of(dataset):
    return [str(dataset.path(i)) for i in range(len(dataset))]


# ---------------------------------------------------------------- layout and parts


def test_classes_are_the_sorted_folder_names_and_labels_their_positions(flat):
    dataset = ImageFolder(flat, 8)
    assert dataset.classes == ["cat", "dog"]
    assert dataset.describe() == {"num_classes": 2, "channels": 3, "size": 8}
    for i in range(len(dataset)):
        assert dataset.classes[dataset[i][1][0]] == dataset.path(i).parent.name


def test_the_parts_of_a_flat_folder_are_all_of_it_and_the_same_share_of_each_class(flat):
    parts = {mode: ImageFolder(flat, 8, mode, valid=6, test=9) for mode in ("train", "valid", "test")}
    files = [file for part in parts.values() for file in files_of(part)]
    assert len(files) == len(set(files)) == 30
    assert {mode: np.bincount(part.labels).tolist() for mode, part in parts.items()} == {
        "train": [10, 5],
        "valid": [4, 2],
        "test": [6, 3],
    }


def test_a_new_file_leaves_nearly_all_others_in_their_part(flat):
    before = set(files_of(ImageFolder(flat, 8, "test", test=9)))
    shutil.copy(flat / "cat" / "000.png", flat / "cat" / "new.png")
    after = set(files_of(ImageFolder(flat, 8, "test", test=9)))
    assert len(before - after) <= 1


def test_folders_of_their_own_are_taken_as_they_are_and_the_rest_is_held_out(nested):
    train, valid, test = (ImageFolder(nested, 8, mode, valid=0.2, test=0.5) for mode in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (24, 6, 5)
    assert {str(nested / "test")} == {str(test.path(i).parents[1]) for i in range(5)}
    write_images(nested / "valid" / "cat", 4)
    write_images(nested / "valid" / "dog", 4)
    assert [len(ImageFolder(nested, 8, mode)) for mode in ("train", "valid", "test")] == [30, 8, 5]


# ---------------------------------------------------------------- samples


def test_a_sample_is_the_pixels_of_its_file_between_0_and_1(tmp_path):
    write_images(tmp_path / "a", 3, size=(8, 8))
    write_images(tmp_path / "b", 3, size=(8, 8))
    dataset = ImageFolder(tmp_path, 8, valid=1, test=1)
    image, label = dataset[0]
    pixels = np.asarray(Image.open(dataset.path(0)))
    assert (image.dtype, image.shape, label.dtype, label.shape) == (np.float32, (3, 8, 8), np.int64, (1,))
    assert np.rint(image * 255).astype(np.uint8).tobytes() == pixels.transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_8_bit_image_gets_the_channels_and_the_size_that_were_asked_for(tmp_path, mode, channels):
    for name, size in (("a", (30, 9)), ("b", (5, 20))):
        write_images(tmp_path / name, 3, size=size, mode=mode)
    dataset = ImageFolder(tmp_path, 16, channels=channels, valid=1, test=1, augment=EVERY_TRANSFORM)
    for i in range(len(dataset)):
        image = dataset[i][0]
        assert image.shape == (channels, 16, 16) and 0 <= image.min() <= image.max() <= 1


def test_an_image_is_turned_as_its_camera_was(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            image = Image.new("RGB", (8, 8))
            image.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half is white
            exif = Image.Exif()
            exif[274] = 3  # orientation: upside down
            image.save(tmp_path / name / f"{i}.png", exif=exif)
    image = ImageFolder(tmp_path, 8, valid=1, test=1)[0][0]
    assert image[:, :4].max() == 0 and image[:, 4:].min() == 1


# ---------------------------------------------------------------- augmentation


def batches(dataset, epoch=0, **options):
    feed = Feed(dataset, batch_size=8, seed=3, **options)
    feed.epoch = epoch
    return [batch[0].numpy() for batch in feed.remaining()]


def test_augmented_samples_depend_on_seed_epoch_and_index_and_not_on_workers_or_order(flat):
    dataset = ImageFolder(flat, 8, augment=EVERY_TRANSFORM)
    here = batches(dataset)
    random.seed(99)
    np.random.seed(99)
    paddle.seed(99)
    for again in (batches(dataset), batches(dataset, num_workers=2)):
        assert [b.tobytes() for b in again] == [b.tobytes() for b in here]
    in_order = np.concatenate(batches(dataset, shuffle=False))
    shuffled = {image.tobytes() for image in np.concatenate(here)}
    assert {image.tobytes() for image in in_order} == shuffled
    next_epoch = np.concatenate(batches(dataset, epoch=1, shuffle=False))
    changed = sum(a.tobytes() != b.tobytes() for a, b in zip(in_order, next_epoch))
    assert changed > len(dataset) // 2


def test_a_transform_with_a_generator_of_its_own_would_be_caught(flat):
    class Careless(augment.Transform):
        own = np.random.RandomState(0)

        def __call__(self, image, generator):
            return image.rotate(self.own.uniform(-90, 90))

    dataset = ImageFolder(flat, 8, augment=[Careless()])
    assert [b.tobytes() for b in batches(dataset)] != [b.tobytes() for b in batches(dataset)]


def test_only_the_training_part_is_augmented(flat):
    for mode in ("valid", "test"):
        plain, augmented = (ImageFolder(flat, 8, mode, augment=each) for each in ((), EVERY_TRANSFORM))
        assert [b.tobytes() for b in batches(plain)] == [b.tobytes() for b in batches(augmented)]
        assert plain.identity() == augmented.identity()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("transform", EVERY_TRANSFORM, ids=lambda t: type(t).__name__)
def test_a_transform_keeps_size_and_mode_leaves_its_input_alone_and_repeats_itself(transform, mode):
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (9, 14, 3)).astype(np.uint8)).convert(mode)
    before = image.tobytes()
    results = []
    for seed in range(12):
        once, twice = (transform(image, np.random.RandomState(seed)) for _ in range(2))
        assert (once.size, once.mode, once.tobytes()) == (image.size, mode, twice.tobytes())
        results.append(once.tobytes())
    assert image.tobytes() == before
    assert len(set(results)) > 1


def test_a_flip_exchanges_left_and_right_with_its_probability():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    flip = augment.RandomHorizontalFlip(p=0.25)
    draw = np.random.RandomState(0)
    flipped = [np.asarray(flip(image, draw))[0, 0] for _ in range(4000)]
    assert set(flipped) == {0, 3}
    assert 0.22 < np.mean(np.array(flipped) == 3) < 0.28


def test_a_crop_is_a_shift_with_black_moved_in_and_reaches_every_place():
    pixels = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    padded = np.pad(pixels, 1)
    windows = {padded[y : y + 3, x : x + 4].tobytes() for y in range(3) for x in range(3)}
    draw = np.random.RandomState(0)
    crops = {augment.RandomCrop(padding=1)(Image.fromarray(pixels), draw).tobytes() for _ in range(200)}
    assert crops == windows


def test_half_a_turn_of_the_hue_makes_red_cyan():
    red = Image.new("RGB", (2, 2), (255, 0, 0))

    class Highest:
        def uniform(self, low, high, count):
            return np.full(count, float(high))

    turned = augment.ColorJitter(hue=0.5)(red, Highest())
    np.testing.assert_allclose(turned.getpixel((0, 0)), (0, 255, 255), atol=3)  # a hue is one of 256 steps


def test_an_erased_rectangle_has_the_area_that_was_asked_for():
    image = Image.new("L", (100, 100), 7)
    erased = np.asarray(augment.RandomErasing(p=1, smallest=0.1, largest=0.1)(image, np.random.RandomState(0)))
    rows, columns = np.nonzero(erased != 7)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert 0.08 < height * width / 10_000 < 0.12
    assert np.unique(erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]).size > 100


@pytest.mark.parametrize(
    ("transform", "arguments"),
    [
        (augment.RandomHorizontalFlip, {"p": 1.5}),
        (augment.RandomCrop, {"padding": 0}),
        (augment.RandomRotation, {"degrees": 0}),
        (augment.ColorJitter, {"contrast": 2}),
        (augment.ColorJitter, {"hue": 0.6}),
        (augment.RandomErasing, {"smallest": 0.5, "largest": 0.1}),
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(transform, arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=rf"{name} is .*; expected"):
        transform(**arguments)


# ---------------------------------------------------------------- identity


def test_identity_changes_with_files_size_and_transforms_and_with_nothing_else(flat, tmp_path):
    shutil.copytree(flat, tmp_path / "copy")
    first = ImageFolder(flat, 8).identity()
    assert ImageFolder(tmp_path / "copy", 8).identity() == first
    seen = {first, ImageFolder(flat, 9).identity(), ImageFolder(flat, 8, channels=1).identity()}
    seen.add(ImageFolder(flat, 8, augment=[augment.RandomCrop(padding=2)]).identity())
    seen.add(ImageFolder(flat, 8, augment=[augment.RandomCrop(padding=3)]).identity())
    path = ImageFolder(flat, 8).path(5)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # of the same size, and in no header
    path.write_bytes(content)
    seen.add(ImageFolder(flat, 8).identity())
    path.rename(path.with_name("999.png"))
    seen.add(ImageFolder(flat, 8).identity())
    assert len(seen) == 7


def test_a_transform_without_a_text_of_its_own_has_the_same_identity_in_every_process(flat):
    class Mine(augment.Transform):
        def __call__(self, image, generator):
            return image

    identities = {ImageFolder(flat, 8, augment=[Mine()]).identity() for _ in range(3)}
    assert len(identities) == 1 and "Mine" in identities.pop()


# ---------------------------------------------------------------- what cannot be used


def test_a_broken_first_image_of_a_class_is_told_before_training(flat):
    path = ImageFolder(flat, 8).path(0)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{path} cannot be read as an image: .*Replace the file, or take it out"):
        ImageFolder(flat, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_further_on_is_told_at_its_batch_in_one_paragraph(flat, workers):
    dataset = ImageFolder(flat, 8)
    dataset.path(5).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        batches(dataset, num_workers=workers)
    text = str(caught.value)
    assert text.startswith(f"{dataset.path(5)} cannot be read as an image: ")
    assert "Traceback" not in text and "\n" not in text


def test_an_image_of_16_bits_is_refused_rather_than_cut_to_8(flat):
    path = ImageFolder(flat, 8).path(0)
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    with pytest.raises(DataError, match="with more than 8 bits; convert it to 8"):
        ImageFolder(flat, 8)


def test_a_folder_in_another_layout_is_told_with_the_one_that_is_expected(tmp_path, flat, nested):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere\. Images are expected in <root>/train/<class>"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"cat has 0 class folders, not 2 or more"):
        ImageFolder(flat / "cat")
    (flat / "eel").mkdir()
    with pytest.raises(DataError, match=r"flat holds no images in eel\. .*\.png"):
        ImageFolder(flat)
    write_images(nested / "test" / "eel", 1)
    with pytest.raises(DataError, match=r"test has the classes eel, which .*train lacks; .*: cat, dog\."):
        ImageFolder(nested, mode="test")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": 4}, r"data\.channels is 4; expected 3"),
        ({"size": 0}, r"data\.size is 0; expected 1"),
        ({"mode": "val"}, r"mode is 'val'; expected train, valid or test"),
        ({"test": 30}, r"data\.test: 30 of 30 samples"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_config_key(flat, options, text):
    with pytest.raises(ConfigError, match=text):
        ImageFolder(flat, **options)
