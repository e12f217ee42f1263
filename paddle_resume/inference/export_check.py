"""Compare what an export gives with what the live model gives, on real samples."""

from __future__ import annotations

import numpy as np

from paddle_resume.errors import ExportMismatchError
from paddle_resume.inference.description import Check
from paddle_resume.inference.runners import Runner

# A part of the largest output. Float32 kernels that add in another order stay far below; a layer that is wrong,
# or in training mode, does not.
TOLERANCE = 1e-4


def check_export(
    runners: dict[str, Runner], inputs: list[np.ndarray], outputs: list[np.ndarray], first: list[np.ndarray]
) -> Check:
    """Run the export by each of `runners` on all samples at once, and on the first alone.

    `outputs` and `first` are what the live model gives for both. Raises ExportMismatchError if number, shape or
    dtype of the outputs differ, or a value by more than TOLERANCE of the largest.
    """
    largest = max((float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array))) for array in outputs), default=0)
    tolerance = TOLERANCE * largest
    differences = {}
    for name, run in runners.items():
        pairs = [*_pair(name, run(inputs), outputs), *_pair(name, run([a[:1] for a in inputs]), first)]
        differences[name] = max(_difference(found, expected) for found, expected in pairs)
        if not differences[name] <= tolerance:
            raise ExportMismatchError(
                f"Run with {name}, the export gives outputs that differ from the model's by {differences[name]:.3g} on "
                f"{len(inputs[0])} real samples; at most {tolerance:.3g} was expected."
            )
    return Check(samples=len(inputs[0]), largest_difference=differences, tolerance=tolerance)


def _pair(name: str, found: list[np.ndarray], expected: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    if [(a.shape, a.dtype) for a in found] != [(a.shape, a.dtype) for a in expected]:
        raise ExportMismatchError(
            f"Run with {name}, the export gives {_shapes(found)}; the model gives {_shapes(expected)}."
        )
    return list(zip(found, expected))


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference; infinite where one is NaN or infinite and the other is something else."""
    if found.tobytes() == expected.tobytes():
        return 0.0
    left, right = found.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(left - right))
    return float(np.where(np.isnan(apart), np.inf, apart).max())


def _shapes(arrays: list[np.ndarray]) -> str:
    return ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays) or "nothing"
