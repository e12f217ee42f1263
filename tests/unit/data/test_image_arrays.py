"""ImageArrays: Paddle's own bits, whole batches, and data that does not fit."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle.vision.transforms import Compose, Normalize, ToTensor

from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.errors import DataError


def make(count: int = 20, channels: int | None = None, **options) -> ImageArrays:
    random = np.random.default_rng(0)
    shape = (count, 5, 4) if channels is None else (count, 5, 4, channels)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    return ImageArrays(images, np.arange(count) % 10, num_classes=10, **options)


@pytest.fixture
def image_backend():
    before = paddle.vision.get_image_backend()
    yield paddle.vision.set_image_backend
    paddle.vision.set_image_backend(before)


def test_every_pixel_value_has_the_bits_of_paddles_to_tensor():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    image, _ = ImageArrays(values, np.zeros(1, int), num_classes=1).gather([0])
    theirs = ToTensor()(values[0][..., None]).numpy()
    assert image.dtype == theirs.dtype == np.float32
    assert image[0].tobytes() == theirs.tobytes()
    assert (image.min(), image.max()) == (0, 1)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_gathered_batch_is_the_stack_of_its_samples_in_order(channels):
    dataset = make(channels=channels)
    indices = np.array([7, 0, 19, 7])
    images, labels = dataset.gather(indices)
    assert (images.shape, labels.shape) == ((4, channels or 1, 5, 4), (4, 1))
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    for row, index in enumerate(indices):
        image, label = dataset[index]
        assert image.tobytes() == images[row].tobytes()
        assert image.tobytes() == ToTensor()(dataset.images[index]).numpy().tobytes()
        assert label.tolist() == labels[row].tolist() == [index % 10]


def test_gathered_arrays_are_the_callers_to_keep_and_to_change():
    dataset = make()
    first, first_labels = dataset.gather([1, 2])
    kept = first.copy()
    second, second_labels = dataset.gather([3, 4])
    np.testing.assert_array_equal(first, kept)
    second[:], second_labels[:] = -1, -1
    np.testing.assert_array_equal(dataset.gather([1, 2])[0], kept)
    assert first_labels.tolist() == [[1], [2]] and dataset[3][1].tolist() == [3]


def test_an_index_out_of_range_is_an_index_error():
    with pytest.raises(IndexError):
        make(20).gather([20])
    with pytest.raises(IndexError):
        make(20)[20]


def test_identity_changes_with_a_pixel_a_label_and_the_shape_and_with_nothing_else():
    images, labels = np.zeros((4, 2, 3), np.uint8), np.zeros(4, np.int64)

    def identity(images, labels):
        return ImageArrays(images, labels, num_classes=10).identity()

    other_pixel, other_label = images.copy(), labels.copy()
    other_pixel[3, 1, 2] = 1
    other_label[3] = 1
    original = identity(images, labels)
    assert len(original) == 32 and int(original, 16) >= 0
    assert original == identity(images.copy(), labels.astype(np.uint8)) == identity(images[..., None], labels)
    others = [
        identity(other_pixel, labels),
        identity(images, other_label),
        identity(images.reshape(4, 3, 2), labels),
    ]
    assert len({original, *others}) == 4


def test_a_subset_is_a_view_with_its_own_identity():
    dataset = make(20)
    part = dataset.subset(5, 9)
    assert np.shares_memory(part.images, dataset.images) and np.shares_memory(part.labels, dataset.labels)
    assert (len(part), part.num_classes) == (4, 10)
    np.testing.assert_array_equal(part.gather([0])[0], dataset.gather([5])[0])
    assert part.identity() == dataset.subset(5, 9).identity() != dataset.subset(6, 10).identity()


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (3, 2), (-1, 2), (0, 21)])
def test_a_subset_outside_the_data_is_refused(start, stop):
    with pytest.raises(DataError, match=rf"Samples {start}\.\.{stop} .* has 20 samples"):
        make(20).subset(start, stop)


def test_a_dataset_cannot_be_changed_behind_its_identity():
    dataset = make()
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0


def test_lengths_that_differ_are_named_with_both_sources():
    with pytest.raises(DataError, match=r"a\.gz has 3 images but b\.gz has 4 labels"):
        ImageArrays(
            np.zeros((3, 2, 2), np.uint8),
            np.zeros(4, int),
            num_classes=10,
            images_source="a.gz",
            labels_source="b.gz",
        )


def test_labels_out_of_range_are_named_with_their_indices():
    labels = np.array([0, 10, 3, -1, 9])
    with pytest.raises(DataError, match=r"2 labels out of 0\.\.9: 10 at index 1, -1 at index 3\. "):
        ImageArrays(np.zeros((5, 2, 2), np.uint8), labels, num_classes=10)


def test_zero_samples_are_refused():
    with pytest.raises(DataError, match="has no samples"):
        ImageArrays(np.zeros((0, 2, 2), np.uint8), np.zeros(0, int), num_classes=10)


@pytest.mark.parametrize(
    ("images", "labels", "found"),
    [
        (np.zeros((2, 2, 2)), np.zeros(2, int), r"float64 \[2, 2, 2\]; expected uint8"),
        (np.zeros((2, 4), np.uint8), np.zeros(2, int), r"uint8 \[2, 4\]; expected uint8 \[N, H, W\]"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros(2), r"float64 \[2\]; expected integers \[N\]"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros((2, 1), int), r"int64 \[2, 1\]; expected integers \[N\]"),
    ],
)
def test_another_type_or_shape_is_refused(images, labels, found):
    with pytest.raises(DataError, match=found):
        ImageArrays(images, labels, num_classes=10)


def test_a_transform_replaces_the_scaling_and_rules_gather_out():
    dataset = make(transform=Compose([ToTensor(), Normalize([0.5], [0.5])]))
    image, label = dataset[3]
    plain, _ = make()[3]
    np.testing.assert_allclose(np.asarray(image), (plain - 0.5) / 0.5, atol=1e-6)
    assert label.tolist() == [3]
    assert make().can_gather and not dataset.can_gather
    with pytest.raises(TypeError, match="use a paddle DataLoader"):
        dataset.gather([0])


@pytest.mark.parametrize(("backend", "kind"), [("pil", "Image"), ("cv2", "ndarray")])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transform_gets_the_image_that_paddles_image_backend_names(image_backend, backend, kind, channels):
    image_backend(backend)
    dataset = make(channels=channels, transform=lambda image: image)
    image, _ = dataset[2]
    assert type(image).__name__ == kind
    np.testing.assert_array_equal(np.asarray(image).reshape(5, 4, channels), dataset.images[2])


def test_a_transform_that_writes_into_its_image_leaves_the_data_alone(image_backend):
    image_backend("cv2")
    dataset = make(transform=lambda image: image.fill(0))
    before = dataset.images[0].copy()
    dataset[0]
    np.testing.assert_array_equal(dataset.images[0], before)


def test_a_paddle_data_loader_gives_the_gathered_batch():
    dataset = make()
    images, labels = next(iter(paddle.io.DataLoader(dataset, batch_size=4)))
    mine, my_labels = dataset.gather(range(4))
    assert images.numpy().tobytes() == mine.tobytes()
    assert labels.numpy().tobytes() == my_labels.tobytes()
