"""The JSON beside an export that makes its config unnecessary: what goes in, what comes out, where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Annotated

from paddle_resume.errors import ExportError
from paddle_resume.storage.durable_files import size_and_digest
from paddle_resume.storage.regular_files import read_regular

# No dot before it: Paddle 3 takes every `<name>.<word>.json` for a program too, and fails to load it.
SUFFIX = "_export.json"
_MOST_BYTES = 1 << 24
# What an export consists of besides; a person may name any of its files.
PROGRAMS = (".json", ".pdmodel")
PARAMETERS = (".pdiparams", ".pdiparams.info")
ONNX = ".onnx"

Format = Literal["paddle", "onnx"]
Scores = Literal["logits", "log_probabilities", "probabilities", "scores"]
Dtype = Literal[
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128"
]
_FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class TensorSpec(_Strict):
    """One input or output; an extent of None is the batch's, or another that may vary."""

    name: str
    shape: list[Optional[int]]
    dtype: Dtype

    def __str__(self) -> str:
        extents = ", ".join("any" if extent is None else str(extent) for extent in self.shape)
        return f"{self.name} {self.dtype} [{extents}]"


class ImageFormat(_Strict):
    """How a picture becomes the model's input: uint8 of this mode and size, scaled by Paddle's ToTensor.

    `background` is the usual level at the edge of the training images, 0 black to 255 white.
    """

    mode: Literal["L", "RGB"]
    height: Annotated[int, Field(ge=1, le=1 << 16)]
    width: Annotated[int, Field(ge=1, le=1 << 16)]
    background: Annotated[int, Field(ge=0, le=255)]
    scaling: Literal["ToTensor"] = "ToTensor"


class Interface(_Strict):
    """What a model takes and gives.

    `scores` says what its output is by the loss that it was trained with; `classes` are their names and `image` the
    way from a picture to the input, each None where nobody knows.
    """

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    scores: Scores
    classes: Optional[list[str]]
    image: Optional[ImageFormat]


class Weights(_Strict):
    """The file the weights were read from, and a digest over their names, dtypes, shapes and values."""

    file: str
    digest: str


class Check(_Strict):
    """How the written model was compared with the live one: the largest difference by the way it was run.

    `tolerance` is in the unit of the outputs.
    """

    samples: int
    largest_difference: dict[str, float]
    tolerance: float


class FileEntry(_Strict):
    """Size in bytes and xxh3_128 of one file."""

    size: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Read the file at `path`; raises OSError."""
        size, digest = size_and_digest(path)
        return cls(size=size, digest=digest)


class Description(_Strict):
    """All that an export says of itself; written last, so an export is whole if and only if it is there and fits."""

    format_version: Literal[1] = 1
    format: Format
    package: str
    paddle: str
    model: dict[str, Any]
    data: str
    weights: Weights
    interface: Interface
    check: Check
    files: dict[_FileName, FileEntry]


def description_path(target: Path, format: Format) -> Path:
    """Where the description of the export `target` (`<folder>/<name>`) lies."""
    return target.with_name(f"{target.name}{'_onnx' if format == 'onnx' else ''}{SUFFIX}")


def find_export(text: str) -> tuple[Path, Description]:
    """The folder and the description of the export that `text` names: its prefix, or any of its files.

    Every file is compared with its digest. Raises ExportError if the export is missing, unfinished or damaged.
    """
    path = _named(text)
    try:
        content = read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        raise ExportError(_why_missing(path)) from None
    except OSError as error:
        raise ExportError(f"The export's description {path} cannot be read: {error.strerror}.") from error
    try:
        description = Description.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ExportError(
            f"{path} is not the description of an export that this version reads: {where}: {first['msg']}. "
            "Make the export again with `paddle-resume export`."
        ) from error
    _verify(path, description)
    return path.parent, description


def _named(text: str) -> Path:
    """The description that `text` means."""
    if text.endswith(SUFFIX):
        return Path(text)
    if text.endswith(ONNX):
        return description_path(Path(text.removesuffix(ONNX)), "onnx")
    for suffix in (*PROGRAMS, *reversed(PARAMETERS)):
        text = text.removesuffix(suffix)
    return description_path(Path(text), "paddle")


def _why_missing(path: Path) -> str:
    prefix = str(path).removesuffix(SUFFIX)
    parts = [Path(f"{prefix}{suffix}") for suffix in (*PROGRAMS, *PARAMETERS)]
    parts.append(Path(f"{prefix.removesuffix('_onnx')}{ONNX}"))
    there = next((part for part in parts if part.is_file()), None)
    if there is not None:
        return (
            f"{path} is missing beside {there}: that export was interrupted, or another program wrote it, and "
            "nothing says what goes in. Make it again with `paddle-resume export`."
        )
    return (
        f"There is no export {prefix}: {path} is missing. The first argument names the export that "
        "`paddle-resume export -c CONFIG --weights PREFIX` has written; or give -c CONFIG --weights PREFIX instead."
    )


def _verify(path: Path, description: Description) -> None:
    for name, expected in description.files.items():
        file = path.parent / name
        try:
            found = FileEntry.of(file)
        except OSError as error:
            raise ExportError(f"The export is not whole: {file}: {error.strerror}. Make the export again.") from error
        if found != expected:
            raise ExportError(
                f"{file} is not the file that was exported: {found.size:,} bytes with digest {found.digest}, expected "
                f"{expected.size:,} with {expected.digest}. It was damaged or replaced; make the export again."
            )
