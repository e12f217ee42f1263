"""From Paddle's inference format to ONNX, through Paddle's own converter, where it is installed."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import paddle

from paddle_resume.errors import ExportError, own_sentence
from paddle_resume.inference.description import PROGRAMS
from paddle_resume.inference.runners import import_onnxruntime

# The oldest set that holds all that image classifiers use; paddle2onnx raises it where a model needs more.
OPSET = 13


def require_onnx() -> None:
    """Raise ExportError, naming what to install, unless models can be converted and checked here."""
    _import_paddle2onnx()
    import_onnxruntime()


def convert(prefix: Path) -> bytes:
    """The model at `prefix` as the bytes of an ONNX file; raises ExportError if it cannot be converted."""
    paddle2onnx = _import_paddle2onnx()
    program = next(path for path in (Path(f"{prefix}{suffix}") for suffix in PROGRAMS) if path.is_file())
    said, reason = io.StringIO(), "it gave nothing"
    content = None
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            # Asked for the bytes, it leaves out its optimizer, which would install packages.
            content = paddle2onnx.export(str(program), f"{prefix}.pdiparams", opset_version=OPSET, verbose=False)
    except Exception as error:
        reason = own_sentence(error)
    if not content:
        raise ExportError(
            f"paddle2onnx {paddle2onnx.__version__} could not convert the model: {reason}. It said: "
            f"{' '.join(said.getvalue().split())[-400:] or 'nothing'}."
        )
    return content


def _import_paddle2onnx() -> Any:
    try:
        import paddle2onnx
    # It links against Paddle itself, so another version fails in ways of its own.
    except Exception as error:
        fitting = "paddle2onnx==1.3.1" if paddle.__version__.startswith("2.") else "paddle2onnx>=2.1"
        raise ExportError(
            f"--format onnx needs paddle2onnx, which cannot be imported ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). For Paddle {paddle.__version__} install "
            f"`pip install '{fitting}' onnxruntime`, or leave out --format for Paddle's own format."
        ) from error
    return paddle2onnx
