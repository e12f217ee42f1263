"""Ways to run an exported model; each takes a list of arrays and gives the list of its outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle

from paddle_resume.errors import ExportError, own_sentence
from paddle_resume.inference.description import PROGRAMS, Description
from paddle_resume.inference.interface import flatten_outputs

Runner = Callable[[list[np.ndarray]], list[np.ndarray]]


def run_export(folder: Path, description: Description) -> Runner:
    """A runner for the export with this description; raises ExportError if this installation cannot load it."""
    if description.format == "onnx":
        return onnxruntime_runner(folder / next(iter(description.files)))
    program = next(folder / name for name in description.files if name.endswith(PROGRAMS))
    try:
        return jit_runner(program.with_suffix(""))
    except Exception as error:
        raise ExportError(
            f"{program} was written by Paddle {description.paddle}, and Paddle {paddle.__version__} cannot load it "
            f"({own_sentence(error)}). Make the export again with this version."
        ) from error


def jit_runner(prefix: Path) -> Runner:
    """Runs `prefix` with `paddle.jit.load`: the kernels that training used too."""
    layer = paddle.jit.load(str(prefix))
    layer.eval()

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        with paddle.no_grad():
            return flatten_outputs(layer(*(paddle.to_tensor(array) for array in inputs)))

    return run


def predictor_runner(prefix: Path) -> Runner:
    """Runs `prefix` with `paddle.inference`, which rewrites the program for speed, on the device that is set."""
    from paddle import inference

    program = next(path for path in (Path(f"{prefix}{suffix}") for suffix in PROGRAMS) if path.is_file())
    config = inference.Config(str(program), f"{prefix}.pdiparams")
    config.disable_glog_info()
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    config.set_cpu_math_library_num_threads(threads)
    kind, _, number = paddle.device.get_device().partition(":")
    if kind == "gpu":
        config.enable_use_gpu(256, int(number or 0))
    predictor = inference.create_predictor(config)

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        for name, array in zip(predictor.get_input_names(), inputs):
            handle = predictor.get_input_handle(name)
            handle.reshape(array.shape)
            handle.copy_from_cpu(np.ascontiguousarray(array))
        predictor.run()
        # It leaves the whole process with one thread, and so with other bits in all that is computed later.
        paddle.base.core.set_num_threads(threads)
        return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

    return run


def onnxruntime_runner(path: Path) -> Runner:
    """Runs the ONNX file at `path`; raises ExportError if ONNX Runtime is missing or does not load it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors; a warning is not the user's to act on.
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {own_sentence(error)}."
        ) from error
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs)))


def import_onnxruntime() -> Any:
    """The module `onnxruntime`; raises ExportError saying how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(
            f"An ONNX file is run with ONNX Runtime, which cannot be imported ({error}). Install it: "
            "`pip install onnxruntime`."
        ) from error
    return onnxruntime
