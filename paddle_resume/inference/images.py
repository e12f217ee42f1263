"""From an image file, or an image in memory, to the uint8 pixels that a model was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from paddle_resume.data.image_folder import FORMATS
from paddle_resume.errors import DataError
from paddle_resume.inference.description import ImageFormat
from paddle_resume.inference.interface import border_pixels
from paddle_resume.storage.regular_files import open_regular

_DARK, _BRIGHT = 64, 191


def image_suffixes() -> set[str]:
    """The ends of the names of files that can be opened here, in lower case."""
    return {suffix for suffix, format in Image.registered_extensions().items() if format in FORMATS}


def read_image(path: Path, wanted: ImageFormat, invert: bool = False) -> np.ndarray:
    """The image at `path` as uint8 [H, W, C], the first one of an animation; raises DataError if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What a slightly wrong file makes Pillow say helps nobody.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
                image.load()
                return fit_image(image, wanted, invert)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large an image: {error}. Make it smaller.") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image; expected one of {', '.join(FORMATS)}.") from error
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}.") from error
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}. Check the file, or save the image anew.") from error
    except Exception as error:  # Decoders fail over damaged files in ways of their own.
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is a damaged image ({reason}). Save the image anew.") from error


def fit_image(image: Any, wanted: ImageFormat, invert: bool = False) -> np.ndarray:
    """A Pillow image as uint8 [H, W, C] of the wanted mode and size; left as it is where both fit already.

    It is turned upright as its EXIF data says, and transparent parts become white. A larger or smaller one keeps its
    proportions: it is scaled to fit and centered, and what is left gets the level of its own edge. Raises DataError
    for pixels that are floating point.
    """
    image = _opaque(_eight_bits(ImageOps.exif_transpose(image))).convert(wanted.mode)
    if invert:
        image = ImageOps.invert(image)
    if image.size != (wanted.width, wanted.height):
        image = _centered(image, (wanted.width, wanted.height))
    return _array(image)


def looks_inverted(pixels: np.ndarray, wanted: ImageFormat) -> bool:
    """Whether uint8 pixels [H, W, C] have a bright edge where the training images had a dark one, or the reverse."""
    level = float(np.median(border_pixels(pixels)))
    if wanted.background < _DARK:
        return level > _BRIGHT
    return wanted.background > _BRIGHT and level < _DARK


def _centered(image: Any, size: tuple[int, int]) -> Any:
    scale = min(size[0] / image.width, size[1] / image.height)
    # A line of one pixel must not vanish.
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = _array(image)
    level = tuple(int(np.median(border_pixels(pixels[..., c : c + 1]))) for c in range(pixels.shape[-1]))
    canvas = Image.new(image.mode, size, level if len(level) > 1 else level[0])
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def _array(image: Any) -> np.ndarray:
    pixels = np.array(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _eight_bits(image: Any) -> Any:
    """16 bits a pixel, which Pillow's own conversion would cut off at 255, scaled to 8."""
    if image.mode == "F":
        raise DataError("its pixels are floating point, and nothing says what white is; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError("its pixels have more than 16 bits; save it with 8 or 16 bits")
    return Image.fromarray((values // 257).astype(np.uint8))


def _opaque(image: Any) -> Any:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
