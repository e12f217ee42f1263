"""The graph of a model as VisualDL shows it, drawn from a copy so that the model itself stays as it is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle

from paddle_resume.rng import preserved


def model_graph(model: paddle.nn.Layer, shapes: Sequence[Sequence[int]], dtypes: Sequence[Any]) -> str:
    """The graph as JSON, for inputs of these shapes (their first extent is left open) and dtypes.

    Paddle turns the model into a static one for it; raises whatever it raises for a model which that fails for.
    For a moment there are two models in memory.
    """
    from visualdl.component.graph import translate_graph

    specs = [
        paddle.static.InputSpec([None, *shape[1:]] if shape else [], dtype) for shape, dtype in zip(shapes, dtypes)
    ]
    with preserved(), paddle.utils.unique_name.guard(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # VisualDL leaves hooks in the model that it draws, and the conversion replaces its forward().
        drawn = copy.deepcopy(model)
        drawn.eval()
        with _old_programs():
            return translate_graph(drawn, specs, verbose=False)


def _old_programs() -> AbstractContextManager[None]:
    """Paddle 3 writes programs in a new form, which VisualDL cannot read."""
    try:
        from paddle.pir_utils import OldIrGuard
    except ImportError:  # Paddle 2.6 knows the old form only.
        return nullcontext()
    return OldIrGuard()
