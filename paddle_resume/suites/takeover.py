"""Where a wrapped program meets this package: what it calls of Paddle's and Python's is replaced before it begins."""

from __future__ import annotations

import functools
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import paddle

from paddle_resume.storage.durable_files import create_new, temporary
from paddle_resume.suites.loader_iterator import LoaderIterator, loader_iterator
from paddle_resume.suites.outputs import Outputs
from paddle_resume.suites.program_files import ProgramFiles

_OURS = (signal.SIGINT, signal.SIGTERM)
_plain_signal: Callable[[int, Any], Any] = signal.signal


def take_loaders(before: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Each `iter(DataLoader)` gives a LoaderIterator, and calls `before` first."""

    def begin(loader: Any) -> LoaderIterator:
        before()
        if getattr(loader, "_persistent_workers", False):
            loader._persistent_workers = False
            tell(
                "DataLoader(persistent_workers=True): workers that outlive an epoch keep what they have drawn to "
                "themselves. They are started anew for each epoch, so that a run can go on."
            )
        return loader_iterator(loader)

    loader_class: Any = paddle.io.DataLoader
    loader_class.__iter__ = begin


def take_optimizers(updated: Callable[[Any], None]) -> None:
    """Have `updated` called with each optimizer after its `step` or `minimize`, also of classes that come later."""

    def watch(cls: Any) -> None:
        for name in ("step", "minimize"):
            plain = vars(cls).get(name)
            if callable(plain):
                setattr(cls, name, _then(plain, updated))

    waiting: list[Any] = [paddle.optimizer.Optimizer]
    while waiting:
        cls = waiting.pop()
        watch(cls)
        waiting += cls.__subclasses__()

    def of_subclass(cls: Any, **options: Any) -> None:
        super(paddle.optimizer.Optimizer, cls).__init_subclass__(**options)
        watch(cls)

    paddle.optimizer.Optimizer.__init_subclass__ = classmethod(of_subclass)


def _then(plain: Callable[..., Any], updated: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(optimizer: Any, *args: Any, **options: Any) -> Any:
        result = plain(optimizer, *args, **options)
        updated(optimizer)
        return result

    return call


def take_saves(files: ProgramFiles) -> None:
    """Files of `paddle.save` are whole or not there, and as much the program's own as those that it opens."""
    plain_save = paddle.save
    process = os.getpid()

    @functools.wraps(plain_save)
    def save(obj: Any, path: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(path, (str, os.PathLike)):
            return plain_save(obj, path, *args, **options)
        target = Path(path).absolute()
        if os.getpid() == process:
            target = files.instead(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = temporary(target)
        os.close(create_new(new))
        try:
            plain_save(obj, str(new), *args, **options)
            with new.open("rb") as file:
                os.fsync(file.fileno())
            if os.getpid() == process:
                files.replaces(target, new)
            new.replace(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        return None

    paddle.save = save


def take_logs(outputs: Outputs) -> None:
    """VisualDL's writers write curves that can be cut back, and text logs are known."""
    plain_open = logging.FileHandler._open

    def open_log(handler: logging.FileHandler) -> Any:
        outputs.text(handler)
        return plain_open(handler)

    handler_class: Any = logging.FileHandler
    handler_class._open = open_log
    try:
        import visualdl
        import visualdl.writer.writer as home
    except ImportError:
        return

    class LogWriter(home.LogWriter):
        """As VisualDL's, into one file of this run in each folder."""

        def __init__(self, logdir: Any = None, comment: str = "", *args: Any, **options: Any) -> None:
            if not logdir:  # VisualDL would name it by the time at which this process has begun.
                began = time.strftime("%b%d_%H-%M-%S") + (f".{comment}" if comment else "")
                logdir = str(Path("runs") / began)
            if options.get("write_to_disk", True):
                logdir = outputs.folder_of_writer(str(logdir))
            super().__init__(logdir, comment, *args, **options)

        def _get_file_writer(self) -> Any:
            return _Records(outputs, self.logdir) if self._write_to_disk else super()._get_file_writer()

        def add_meta(self, *args: Any, **options: Any) -> None:
            """Nothing: each file begins with one such record."""

        @property
        def file_name(self) -> str:
            return str(outputs.curves(self.logdir).path) if self._write_to_disk else super().file_name

        def flush(self) -> None:
            if self._write_to_disk:
                outputs.curves(self.logdir).flush()

        def close(self) -> None:
            self.flush()

    visualdl.LogWriter = home.LogWriter = LogWriter


class _Records:
    """What a LogWriter takes for the writer of its file."""

    def __init__(self, outputs: Outputs, folder: str) -> None:
        self._curves = outputs.curves(folder)

    def add_record(self, record: Any) -> None:
        self._curves.log_record(record.SerializeToString())

    def get_logdir(self) -> str:
        return str(self._curves.path.parent)


def take_signals() -> None:
    """SIGINT and SIGTERM save the run, by the handlers that are set now.

    One that the program sets for them, such as one that kills its process group, is remembered and not called.
    """
    theirs: dict[int, Any] = {}
    ours = {signum: signal.getsignal(signum) for signum in _OURS}
    plain_disable = paddle.base.core.disable_signal_handler

    def note(signum: int, handler: Any) -> Any:
        if signum not in _OURS:
            return _plain_signal(signum, handler)
        before, theirs[signum] = theirs.get(signum, signal.SIG_DFL), handler
        return before

    def forget() -> None:
        _plain_signal(signal.SIGTERM, signal.SIG_DFL)
        _plain_signal(signal.SIGINT, signal.default_int_handler)

    def disable() -> None:
        # It takes SIGTERM from Paddle and from everybody else, unseen by Python; PaddleNLP does so when it is imported.
        plain_disable()
        for signum, handler in ours.items():
            _plain_signal(signum, handler)
            signal.siginterrupt(signum, False)

    paddle.base.core.disable_signal_handler = disable
    signal.signal = note  # type: ignore[assignment]
    os.register_at_fork(after_in_child=forget)  # The program's own helpers end when they are told to.


def ignore_signals() -> None:
    """This process is about to end: a launcher that stops all processes when one has ended is not to hit it in that."""
    for signum in _OURS:
        _plain_signal(signum, signal.SIG_IGN)
