"""What a run's metrics.jsonl and its newest checkpoint tell of its course, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from paddle_resume.checkpoint.catalog import find_all, is_epoch
from paddle_resume.errors import DataError
from paddle_resume.loggers import read_records

METRICS_FILE = "metrics.jsonl"
TRAIN = "train"
_LARGEST = 1 << 62
_MOST_METRICS = 10_000


@dataclass
class Series:
    """Values of one metric on one part of the data, each with the number of steps made by then."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def by_epoch(self, steps_per_epoch: float, mean: bool) -> tuple[list[float], list[float]]:
        """(how many epochs were made by then, value).

        With `mean` there is one value an epoch: the mean of its records, each weighted by the steps it tells of.
        """
        if not mean:
            return [step / steps_per_epoch for step in self.steps], list(self.values)
        sums: dict[int, tuple[float, int]] = {}
        before = 0
        for step, value in zip(self.steps, self.values):
            epoch = int((step - 1) // steps_per_epoch)
            total, weight = sums.get(epoch, (0.0, 0))
            sums[epoch] = total + value * (step - before), weight + step - before
            before = step
        last = self.steps[-1] / steps_per_epoch if self.steps else 0.0
        return [min(epoch + 1.0, last) for epoch in sums], [total / weight for total, weight in sums.values()]


@dataclass
class History:
    """A run: its metrics by name and part (`loss`, `train`), where it was resumed, and the steps of an epoch."""

    name: str
    metrics: dict[str, dict[str, Series]]
    steps_per_epoch: Optional[float]
    resumes: list[int]
    """The steps at which it was resumed."""


def read_history(run: Path, save_dir: Path) -> History:
    """The history of the run whose logs are in the folder `run`, such as log/mnist.

    Resumes come from the newest checkpoint of that name in `save_dir`; without one there are none. Raises DataError
    if the folder has no metrics.jsonl, or there is nothing in it.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        there = sorted(str(found.parent) for found in run.parent.glob(f"*/{METRICS_FILE}")) if run.name else []
        hint = f"; runs that have one: {', '.join(there)}" if there else ""
        raise DataError(f"There is no {path}; give the folder of a run's logs, such as log/mnist{hint}.")
    try:
        records = read_records(path)
        metrics, epoch_ends = _sort(records)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Draw another run.") from error
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise DataError(
            f"{path} holds a line that is no record of a run: {str(error)[:200]}. Draw another run."
        ) from error
    if not metrics:
        raise DataError(f"{path} holds no record yet; wait for trainer.log_every steps.")
    name = run.resolve().name
    steps_per_epoch, resumes = _from_checkpoints(save_dir, name)
    if epoch_ends:
        # The first whole epoch tells; the last one may have been ended early by max_steps.
        epoch, step = min(epoch_ends.items())
        steps_per_epoch = steps_per_epoch or step / (epoch + 1)
    return History(name, metrics, steps_per_epoch, resumes)


def _sort(records: list[dict]) -> tuple[dict[str, dict[str, Series]], dict[int, int]]:
    """The series by metric and part, and the step at which each epoch ended.

    Evaluations may be logged at their epoch. In the file they follow the training record of the step they were made
    at, which is how they are placed. Epochs are less than that step, and steps are not, which tells them apart.
    """
    metrics: dict[str, dict[str, Series]] = {}
    epoch_ends: dict[int, int] = {}
    trained = 0
    for record in records:
        step = int(record["step"])
        if not 0 <= step < _LARGEST:
            raise ValueError(f"step {str(step)[:40]}")
        for tag, value in record.items():
            part, separator, metric = tag.partition("/")
            if not separator:
                continue
            if part == TRAIN:
                trained = at = step
            elif step < trained:
                at = trained
                epoch_ends.setdefault(step, trained)
            else:
                at = step
            if len(metrics) > _MOST_METRICS:
                raise ValueError(f"there are more than {_MOST_METRICS:,} metrics")
            series = metrics.setdefault(metric, {}).setdefault(part, Series())
            series.steps.append(at)
            series.values.append(float(value))
    return metrics, epoch_ends


def _from_checkpoints(save_dir: Path, name: str) -> tuple[Optional[float], list[int]]:
    """(steps of an epoch if an epoch's checkpoint tells, steps of the resumes)."""
    found = [each for each in find_all(save_dir, name) if each.record is not None] if save_dir.is_dir() else []
    if not found:
        return None, []
    newest = found[0].record
    assert newest is not None
    ends = [(f.record.epoch, f.record.step) for f in found if f.record and is_epoch(f.prefix)]
    per_epoch = next((step / (epoch + 1) for epoch, step in ends if epoch is not None and step), None)
    return per_epoch, [e["step"] for e in newest.lineage if e.get("event") == "resume" and type(e.get("step")) is int]
