"""Write a checkpoint as a model that runs without this package, and publish it once it gives the same outputs."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import paddle

from paddle_resume._version import __version__
from paddle_resume.builders.data import build_data
from paddle_resume.builders.model import model_with_weights
from paddle_resume.checkpoint.weights import fingerprint
from paddle_resume.config import Config
from paddle_resume.errors import ExportError, ExportMismatchError, own_sentence
from paddle_resume.inference.description import (
    ONNX,
    Description,
    FileEntry,
    Format,
    Interface,
    Weights,
    description_path,
)
from paddle_resume.inference.export_check import check_export
from paddle_resume.inference.interface import describe, first_outputs, model_outputs, sample_inputs
from paddle_resume.inference.onnx import convert, require_onnx
from paddle_resume.inference.publishing import make_staging, publish
from paddle_resume.inference.runners import Runner, jit_runner, onnxruntime_runner, predictor_runner
from paddle_resume.rng import preserved


@dataclass(frozen=True)
class Exported:
    """What was written: all files in order, the description last, and what that says."""

    files: list[Path]
    description: Description


def export_weights(config: Config, weights: str, output: Optional[str] = None, format: Format = "paddle") -> Exported:
    """Export the config's model with these weights as `output`, `<folder>/<name>` (default `export/<run.name>`).

    "paddle" is Paddle's inference format: `.json` (Paddle 2.6: `.pdmodel`) and `.pdiparams`. "onnx" is one `.onnx`
    file. The batch size is left open. What was written is run on real samples of the data and must give the live
    model's outputs before it gets its name.

    Raises CheckpointError for weights that do not fit, ExportError for a model that cannot be exported or a place
    that cannot be written to, and ExportMismatchError if the outputs differ; what was written is then kept aside.
    """
    target = _target(config, output)
    if format == "onnx":
        require_onnx()
    model, path, arrays = model_with_weights(config, weights)
    data = build_data(config)
    inputs = sample_inputs(config, data)
    outputs = first_outputs(config, model, inputs)
    first = model_outputs(model, [array[:1] for array in inputs])
    interface = describe(config, model, data, inputs, outputs)
    try:
        staging = make_staging(target)
        try:
            runners = _write(model, interface, staging, target.name, format)
            check = check_export(runners, inputs, outputs, first)
            description = Description(
                format=format,
                package=__version__,
                paddle=paddle.__version__,
                model=config.to_dict()["model"],
                data=" ".join([data.source, *data.notes]),
                weights=Weights(file=str(path), digest=fingerprint(arrays)),
                interface=interface,
                check=check,
                files={file.name: FileEntry.of(file) for file in sorted(staging.iterdir())},
            )
            (staging / description_path(target, format).name).write_text(
                description.model_dump_json(indent=2) + "\n", encoding="utf-8"
            )
            return Exported(publish(staging, target, format), description)
        except ExportMismatchError as error:
            raise ExportMismatchError(
                f"{error} Nothing was written as {target}; for a look, the files are in {staging} until the next "
                "export of that name."
            ) from error
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportError(
            f"Could not write the export {target}: {error.strerror or error}. Make room, or choose another place with "
            "--output DIR/NAME."
        ) from error


def _target(config: Config, output: Optional[str]) -> Path:
    text = output if output is not None else f"export/{config.run.name}"
    target = Path(text)
    if not target.name or text.endswith(os.sep) or target.is_dir():
        raise ExportError(
            f"--output {text} is a folder; expected folder and name, such as {Path(text) / config.run.name}."
        )
    if "." in target.name:
        raise ExportError(
            f"--output {text} has a dot in its name, and Paddle takes what follows a dot for the name of a function; "
            f"write {target.with_name(target.name.replace('.', '_'))}."
        )
    return target


def _write(model: paddle.nn.Layer, interface: Interface, staging: Path, name: str, format: Format) -> dict[str, Runner]:
    """Write the model's files into `staging`; returns the ways in which they are checked."""
    prefix = staging / name
    _save_program(model, interface, prefix)
    if format == "paddle":
        return {"paddle.jit.load": jit_runner(prefix), "paddle.inference": predictor_runner(prefix)}
    content = convert(prefix)
    for file in staging.iterdir():
        file.unlink()
    path = prefix.with_name(f"{name}{ONNX}")
    path.write_bytes(content)
    return {"onnxruntime": onnxruntime_runner(path)}


def _save_program(model: paddle.nn.Layer, interface: Interface, prefix: Path) -> None:
    specs = [paddle.static.InputSpec(list(spec.shape), spec.dtype, name=spec.name) for spec in interface.inputs]
    model.eval()
    try:
        with preserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Paddle's own, about its own ways.
            paddle.jit.save(model, str(prefix), input_spec=specs)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(
            f"Paddle could not turn {type(model).__name__} into a program with the inputs "
            f"{', '.join(map(str, interface.inputs))}: {own_sentence(error)}. What forward() does has to "
            "be within paddle.jit.to_static: no Python that depends on values of tensors."
        ) from error
