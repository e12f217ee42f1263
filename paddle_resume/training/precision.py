"""Mixed precision: what is computed in a shorter type, and the loss scaling that goes with float16."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Optional

import numpy as np
import paddle

from paddle_resume.checked_arguments import checked_class, one_of
from paddle_resume.differences import ConfigScope, Difference, compare_fields
from paddle_resume.errors import ConfigError

_REDUCED = (paddle.float16, paddle.bfloat16)


@checked_class(level=one_of("O1", "O2"), dtype=one_of("bfloat16", "float16"))
class Precision:
    """Owner of the loss scale and of how many updates it has made be left out.

    Args:
        level: `O1` casts the operators that gain by it; `O2` keeps the parameters themselves in the shorter type,
            and a float32 master copy of each in the optimizer; None computes everything in float32.
        dtype: `bfloat16`, or `float16`, with which the loss is scaled dynamically.
        scaler: further arguments of `paddle.amp.GradScaler`.

    Paddle's mixed precision is for GPUs: on a CPU it computes everything in float32, which `note` tells.
    """

    def __init__(
        self, level: Optional[str] = None, dtype: str = "bfloat16", scaler: Optional[Mapping[str, Any]] = None
    ) -> None:
        self.level: Any = level
        self.dtype: Any = dtype
        self._is_prepared = False
        self.skipped = 0
        """Updates that were left out because a gradient overflowed."""
        self._is_active = level is not None and paddle.device.get_device().startswith("gpu")
        self._scaler = paddle.amp.GradScaler(**(scaler or {})) if self._is_active and self.scales_loss else None

    @property
    def scales_loss(self) -> bool:
        """Whether losses are scaled dynamically on a device that has mixed precision."""
        return self.level is not None and self.dtype == "float16"

    @property
    def note(self) -> str:
        """What a user should know, or an empty string."""
        if self.level is None or self._is_active:
            return ""
        return "Mixed precision has no effect here: on a CPU Paddle computes everything in float32."

    def prepare(self, model: paddle.nn.Layer, optimizers: Mapping[str, Any]) -> None:
        """For O2, cast the parameters of `model` and let the optimizers keep master weights.

        To be called once, before anything else refers to the parameters. Raises ConfigError for an optimizer that
        cannot keep them.
        """
        if self.level != "O2" or self._is_prepared:
            return
        self._is_prepared = True
        for optimizer in optimizers.values():
            if not hasattr(optimizer, "_multi_precision"):
                raise ConfigError(
                    f"trainer.amp.level: O2 needs master weights, which {type(optimizer).__name__} does not keep; "
                    "use O1, or an optimizer with multi_precision such as Adam, AdamW or Momentum."
                )
        if self._is_active:
            steppers: list[Any] = list(optimizers.values())
            paddle.amp.decorate(models=model, optimizers=steppers, level="O2", dtype=self.dtype, master_weight=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The types in force inside."""
        if not self._is_active:
            return nullcontext()
        return paddle.amp.auto_cast(level=self.level, dtype=self.dtype)

    def scaled(self, loss: paddle.Tensor) -> paddle.Tensor:
        """What to call `backward` of."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, optimizer: paddle.optimizer.Optimizer) -> bool:
        """Step the optimizer; returns False if a gradient overflowed, so that the update was left out."""
        if self._scaler is None:
            optimizer.step()
            return True
        self._scaler.step(optimizer)
        overflowed = bool(self._scaler._found_inf)
        self._scaler.update()
        self.skipped += overflowed
        return not overflowed

    def state_dict(self) -> dict[str, Any]:
        scaler: dict[str, Any] = dict(self._scaler.state_dict()) if self._scaler is not None else {}
        return {
            "level": self.level,
            "dtype": self.dtype if self.level else None,
            "skipped": self.skipped,
            "scaler": {name: _plain(value) for name, value in scaler.items()},
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped = state["skipped"]
        if self._scaler is not None and state["scaler"]:
            saved: Any = state["scaler"]
            self._scaler.load_state_dict(saved)

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        return compare_fields(
            "precision {}",
            state,
            self.state_dict(),
            keys=("level", "dtype"),
            scope=ConfigScope(("trainer.amp", "trainer.amp_dtype")),
            argument="Precision({}=)",
        )


def readable_output(output: Any) -> Any:
    """`output` in float32 where it is shorter: NumPy, and so the metrics, would misread bfloat16."""
    if isinstance(output, paddle.Tensor):
        return output.astype("float32") if output.dtype in _REDUCED else output
    if isinstance(output, (list, tuple)):
        return type(output)(readable_output(item) for item in output)
    return output


def _plain(value: Any) -> Any:
    return (
        value.numpy() if isinstance(value, paddle.Tensor) else value.item() if isinstance(value, np.generic) else value
    )
