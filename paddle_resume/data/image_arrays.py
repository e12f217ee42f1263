"""Images and labels held in memory, as a Paddle dataset that can also gather a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle
import xxhash
from paddle.vision.transforms import ToTensor

from paddle_resume.errors import DataError


class ImageArrays(paddle.io.Dataset):
    """A labelled set of images in memory.

    `images` is uint8 [N, H, W] or [N, H, W, C]; `labels` is integer [N] in 0..num_classes-1. Neither is
    copied if it is contiguous already; both are read-only through this object, and kept as `images`
    [N, H, W, C] and `labels` int64 [N]. The two `_source` names (a file, say) are for error messages.

    Without a `transform` a sample is `(float32 [C, H, W] in 0..1, int64 [1])`, bit for bit what
    `paddle.vision.transforms.ToTensor` gives, and `gather` brings a whole batch of them. With one, a
    sample is `(transform(image), int64 [1])`: the transform decides about scaling and layout too, and the
    image it gets is what `paddle.vision.get_image_backend()` says, as in Paddle's own MNIST: a Pillow image
    ("pil", the default) or a uint8 [H, W, C] array ("cv2"). `can_gather` is then False.

    Raises DataError for zero samples, lengths that differ, another type or shape, labels out of range.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        num_classes: int,
        transform: Optional[Callable[[Any], Any]] = None,
        images_source: str = "the images",
        labels_source: str = "the labels",
    ) -> None:
        _check_images(images, images_source)
        _check_labels(labels, labels_source, num_classes)
        if len(images) != len(labels):
            raise DataError(
                f"{images_source} has {len(images):,} images but {labels_source} has {len(labels):,} labels; "
                "each image needs one label. Perhaps the files belong to different sets."
            )
        self.images = _read_only(images if images.ndim == 4 else images[..., None], np.uint8)
        self.labels = _read_only(labels, np.int64)
        self.num_classes = num_classes
        self.transform = transform
        self._sources = {"images_source": images_source, "labels_source": labels_source}
        self._levels = _to_tensor_levels()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        label = self.labels[index].reshape(1)
        if self.transform is not None:
            return self.transform(_backend_image(self.images[index].copy())), label
        return self._scaled(self.images[index][None])[0], label

    @property
    def can_gather(self) -> bool:
        """Whether `gather` is available; with a transform the caller goes through a DataLoader."""
        return self.transform is None

    def gather(self, indices: Union[np.ndarray, Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """The samples at `indices`, in that order: (float32 [B, C, H, W], int64 [B, 1]).

        The same bits as stacking `self[i]`, without Python work per sample; the arrays are new at each call
        and the caller's to keep. Raises IndexError for an index out of range, TypeError with a transform.
        """
        if self.transform is not None:
            raise TypeError("ImageArrays.gather() is not available with a transform; use a paddle DataLoader.")
        return self._scaled(self.images.take(indices, axis=0)), self.labels.take(indices)[:, None]

    def subset(self, start: int, stop: int) -> ImageArrays:
        """The samples start..stop-1 as views of these arrays; raises DataError if they are not all here."""
        if not 0 <= start < stop <= len(self):
            raise DataError(
                f"Samples {start}..{stop} (end excluded) are not in {self._sources['images_source']}, which "
                f"has {len(self):,} samples; expected 0 <= start < stop <= {len(self)}."
            )
        return ImageArrays(
            self.images[start:stop],
            self.labels[start:stop],
            num_classes=self.num_classes,
            transform=self.transform,
            **self._sources,
        )

    def describe(self) -> dict[str, Any]:
        """What a model may want to know: `num_classes` and `channels`."""
        return {"num_classes": self.num_classes, "channels": self.images.shape[-1]}

    def identity(self) -> str:
        """32 hexadecimal digits (xxh3_128) that change with the shape, any pixel or any label."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = xxhash.xxh3_128(repr(self.images.shape).encode())
        digest.update(self.images.data)
        digest.update(self.labels.data)
        return digest.hexdigest()

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        batch, height, width, channels = rows.shape
        out = np.empty((batch, channels, height, width), np.float32)
        # A uint8 always finds its place among 256 levels. mode="clip" says so to NumPy, which would
        # otherwise fill a second buffer to keep `out` untouched on an error.
        return self._levels.take(rows.transpose(0, 3, 1, 2), out=out, mode="clip")


def _to_tensor_levels() -> np.ndarray:
    """What ToTensor makes of 0..255, float32 [256], asked of Paddle itself.

    Paddle 3.3 divides by 255, Paddle 2.6 multiplies by the rounded 1/255: no one formula has both's bits.
    """
    levels: Any = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    return np.frombuffer(ToTensor()(levels).numpy().tobytes(), np.float32)


def _backend_image(image: np.ndarray) -> Any:
    if paddle.vision.get_image_backend() != "pil":
        return image
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _read_only(array: np.ndarray, dtype: type) -> np.ndarray:
    view: np.ndarray = np.ascontiguousarray(array, dtype).view()
    if not np.may_share_memory(view, array):  # A copy: nobody else has it, and in bytes nobody can change it.
        view = np.frombuffer(view.tobytes(), dtype).reshape(view.shape)
    view.flags.writeable = False
    return view


def _check_images(images: np.ndarray, source: str) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"{source} is {images.dtype} {list(images.shape)}; expected uint8 [N, H, W] or [N, H, W, C].")
    if not images.size:
        raise DataError(f"{source} has no samples (shape {list(images.shape)}); there is nothing to train on.")


def _check_labels(labels: np.ndarray, source: str, num_classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DataError(f"{source} is {labels.dtype} {list(labels.shape)}; expected integers [N].")
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        first = ", ".join(f"{labels[i]} at index {i}" for i in bad[:5])
        raise DataError(
            f"{source} has {len(bad):,} labels out of 0..{num_classes - 1}: {first}"
            f"{', ...' if len(bad) > 5 else ''}. Check the file, or the number of classes ({num_classes})."
        )
