"""Gets between `paddle.Model.fit` and all that it calls, and out again."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable

import paddle
from paddle.hapi.callbacks import CallbackList

from paddle_resume.errors import StateError

_EPOCH = "_run_one_epoch"


@contextmanager
def taken_over(
    model: Any, callbacks: CallbackList, event: Callable[..., None], run_one_epoch: Callable[..., Any]
) -> Iterator[None]:
    """Inside, what `fit` tells its callbacks goes to `event(name, *args)`, and its data to `run_one_epoch`.

    At the end model and list are as they were. `callbacks` may be going through its entries when this begins: it
    finishes that round with them.
    """
    entries = callbacks.callbacks
    callbacks.callbacks = [_Events(event)]
    setattr(model, _EPOCH, run_one_epoch)
    try:
        yield
    finally:
        vars(model).pop(_EPOCH)
        callbacks.callbacks = entries


def callbacks_of_fit() -> CallbackList:
    """The list that is calling a callback now; Paddle hands it to none of them, but it stands on the stack.

    Raises StateError outside of `fit`.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, CallbackList):
            return caller
        frame = frame.f_back
    raise StateError("ExactResume works inside paddle.Model.fit only: give it to fit(callbacks=[ExactResume(...)]).")


def require_supported(model: Any) -> None:
    """Raises StateError, with what to do, for a model or a way of training that cannot be taken over."""
    if not paddle.in_dynamic_mode():
        raise StateError("ExactResume works in dynamic mode only; leave out paddle.enable_static().")
    if paddle.distributed.ParallelEnv().nranks > 1:
        raise StateError("ExactResume trains in one process; start the script without paddle.distributed.launch.")
    if model._optimizer is None or model._loss is None:
        raise StateError("The model has no optimizer or no loss; call model.prepare(optimizer, loss) before model.fit.")
    if not callable(getattr(model, _EPOCH, None)):
        raise StateError(
            f"Paddle {paddle.__version__} runs the epochs of Model.fit in a way that ExactResume does not know; use a "
            "version from 2.6.2 to 3.3, or paddle_resume.Trainer."
        )


class _Events:
    """The one entry of a taken list: answers to the name of every event."""

    def __init__(self, event: Callable[..., None]) -> None:
        self._event = event

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return partial(self._event, name)
        raise AttributeError(name)
