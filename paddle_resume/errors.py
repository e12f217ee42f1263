"""Every error that a user can cause or meet: what happened, where, what was expected, what to do next."""

from __future__ import annotations


class PaddleResumeError(Exception):
    """Base of all errors of this package; the command line prints its text and exits with `exit_code`."""

    exit_code = 2


class ConfigError(PaddleResumeError):
    """A config file, key or value that cannot be used."""


class DataError(PaddleResumeError):
    """Data that is missing, damaged or does not fit the task."""


class CheckpointError(PaddleResumeError):
    """A checkpoint that is missing, incomplete, damaged or does not fit the model."""


class SaveError(PaddleResumeError):
    """A save that failed; every older checkpoint is as it was."""


class InexactResumeError(PaddleResumeError):
    """A resume that could not continue bit for bit; the text lists each difference, old and new value."""


class InexactStepError(InexactResumeError):
    """A step that was made again after a resume, and came out otherwise than the first time."""


class StateError(PaddleResumeError):
    """An owner whose state cannot be captured, or two owners of one name."""


class NonFiniteLossError(PaddleResumeError):
    """A loss or weights that are NaN or infinite; `what` says which, and when."""

    def __init__(self, what: str, last_good: str | None = None, advice: str = "") -> None:
        saved = "Nothing of it was saved"
        if last_good is not None:
            saved += f"; the last good checkpoint is {last_good or 'none: nothing was saved yet'}"
        advice = advice or (
            "set trainer.on_nan to skip or rollback to let the run help itself, or to ignore to train on regardless"
        )
        super().__init__(f"{what}. {saved}. Lower the learning rate, or look at the data of that step; {advice}.")
        self.what = what

    def after(self, last_good: str, advice: str = "") -> NonFiniteLossError:
        """The same error, which also tells the checkpoint to go back to, and what can still be tried."""
        return NonFiniteLossError(self.what, last_good, advice)


class ExportError(PaddleResumeError):
    """An export that cannot be made, or is missing, unfinished or damaged."""


class ExportMismatchError(ExportError):
    """An export whose outputs are not those of the model it was made from."""

    exit_code = 1


class MissingPaddleError(PaddleResumeError, ImportError):
    """PaddlePaddle is not installed."""


class UnsupportedSystemError(PaddleResumeError, ImportError):
    """An operating system on which this package does not run."""


class ParallelError(PaddleResumeError):
    """Processes that train together and do not fit together, or do not find each other."""


class RankError(ParallelError):
    """Another process of the run failed or is gone; `rank` says which.

    The exit code is that of the other's mistake, or 3: nobody made one, and the same command can go on.
    """

    def __init__(self, text: str, rank: int = -1, exit_code: int = 3) -> None:
        super().__init__(text)
        self.rank = rank
        self.exit_code = exit_code


def last_line(error: Exception) -> str:
    """Class and last line of an error of another library, without the full stop."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1].strip()}".rstrip(".: ")
