"""Every error that a user can cause or meet: what happened, where, what was expected, what to do next."""

from __future__ import annotations

import re


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


_SUMMARY = "Error Message Summary:"
_LONGEST = 600
# Where in Paddle's sources it was raised, and the operator that was called: no help to who reads the sentence.
_TRACE = re.compile(r"\s*\bAt:\s+\S+\(\d+\): .*", re.DOTALL)  # through Python, as pybind writes it
_PLACES = re.compile(
    r"\s*\(at [^()\s]+:\d+\)|\s*\[operator < .*? > error\]|\s*\[Hint: If you need C\+\+ stacktraces.*?\]"
)


def own_sentence(error: Exception) -> str:
    """What an error of another library says, with its class, on one line and without the full stop.

    Of Paddle's it is the sentence and the hint, without the trace through its sources.
    """
    text = str(error).rpartition(_SUMMARY)[2]
    lines = [line.strip() for line in _PLACES.sub("", _TRACE.sub("", text)).splitlines() if line.strip(" -")]
    said = " ".join(lines)
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    return f"{type(error).__name__}: {said}".rstrip(".: ")
