"""Running means of loss and metrics, which go on after a resume as if they had never stopped."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Callable, Optional

import numpy as np
import paddle
import xxhash

from paddle_resume.differences import Difference
from paddle_resume.metrics.counts import Counts
from paddle_resume.metrics.metric_adapter import (
    metric_names,
    metric_state,
    metric_values,
    require_plain,
    set_metric_state,
    update_arguments,
    update_metric,
)
from paddle_resume.metrics.predictions import Predictions
from paddle_resume.metrics.running_scalars import RunningScalars
from paddle_resume.metrics.shared_counts import emptied, is_counted, share_counts
from paddle_resume.metrics.tags import kept_for, require_unique_names
from paddle_resume.parallel.world import World

# What a process may hold back of its batches before all bring them together.
_MOST_PENDING = 64


class RunningMetrics:
    """Owner of the means since the last reset: the loss, weighted by samples, and any `paddle.metric.Metric`.

    A metric with an attribute `splits`, such as `("valid", "test")`, is kept for these parts of the data only; one
    without, for all. Metrics that count the same share their counts, which are then brought up to date once a
    batch. Losses are taken as tensors and read later, so that a GPU is not waited for at every step.

    With several processes each takes in its own outputs. `gather` brings them together, in the order of the batches
    and within a batch of the ranks; from then on every process has the values of all.

    Args:
        metrics: all metrics of the run, each with names of its own.
        split: the part of the data that these are for.
        world: the processes whose outputs count.
        are_found: whether somebody else saves what metrics without state methods hold, as a trainer does.
        round_robin: whether they take whole batches in turn; else each has its share of every batch, and the losses
            that come in are those of the whole batch.
        on_loss: called with step and value of each loss when it is read.
        by_share: whether further scalars belong to shares of a batch rather than to processes; see `RunningScalars`.

    Raises ConfigError if two metrics have one name.
    """

    def __init__(
        self,
        metrics: Sequence[paddle.metric.Metric],
        split: str = "train",
        world: Optional[World] = None,
        round_robin: bool = False,
        are_found: bool = False,
        on_loss: Callable[[int, float], None] = lambda step, loss: None,
        by_share: bool = False,
    ) -> None:
        self._world = world or World()
        self._on_loss = on_loss
        self._round_robin = round_robin and not self._world.is_single
        self._of_all_splits = list(metrics)
        self._metrics = kept_for(split, metrics)
        share_counts(self._of_all_splits)
        require_unique_names(self._metrics)
        self._counts: list[Counts] = list(dict.fromkeys(m.counts for m in self._metrics if is_counted(m)))
        self._others = [metric for metric in self._metrics if not is_counted(metric)]
        self._are_found = are_found
        if not are_found:
            for metric in self._metrics:
                require_plain(metric)
        self._fetch = paddle.device.get_device() == "cpu"
        # What the arguments made of each: other arguments would make the running values mean something else.
        self._fresh = [xxhash.xxh3_64_hexdigest(repr(metric_state(metric)).encode()) for metric in self._metrics]
        # Those of this process alone, until they are brought together.
        self._own_counts = self._counts if self._world.is_single else [emptied(counts) for counts in self._counts]
        self._own_parts: list[list[list[list[Any]]]] = []
        self._pending: list[tuple[int, paddle.Tensor, int]] = []
        self.scalars = RunningScalars(self._world, by_share)
        """What the program logs besides."""
        self._loss_sum = 0.0
        self._samples = 0
        self._first_non_finite: Optional[tuple[int, float]] = None

    def fresh(self, split: str = "train") -> RunningMetrics:
        """The metrics of another part of the data, empty, for a pass over it."""
        metrics = copy.deepcopy(self._of_all_splits)
        for metric in metrics:
            metric.reset()
        return RunningMetrics(metrics, split, self._world, round_robin=True, are_found=True)

    def update(self, step: int, loss: paddle.Tensor, output: Any, label: Optional[paddle.Tensor], samples: int) -> None:
        """Take in one batch: its mean loss, its output and label if metrics are wanted, and its size.

        Raises ConfigError for an output or label that a metric cannot take, DataError for labels out of range.
        """
        self.add_loss(step, loss, samples)
        self.add_output(output, label)

    def add_loss(self, step: int, loss: paddle.Tensor, samples: int) -> None:
        """Take in the mean loss over so many samples."""
        self._pending.append((step, loss.detach(), samples))

    def add_output(self, output: Any, label: Optional[paddle.Tensor]) -> None:
        """Take in the output and label of a batch, if metrics are wanted; see `update`."""
        self.add_outputs([(output, label)])

    def add_outputs(self, outputs: Sequence[tuple[Any, Optional[paddle.Tensor]]]) -> None:
        """Take in what a batch that went through the model in pieces gave here, piece by piece, or not at all."""
        held: list[list[list[Any]]] = []
        for output, label in outputs:
            if output is None or label is None:
                continue
            if self._own_counts:
                batch = Predictions(output, label, self._fetch)
                for counts in self._own_counts:
                    counts.add(batch)
            parts = [update_arguments(metric, output, label) for metric in self._others]
            if self._world.is_single:
                for metric, part in zip(self._others, parts):
                    update_metric(metric, part, output, label)
            held.append(parts)
        if not self._world.is_single:
            self._hold_back(held)

    def add_nothing(self) -> None:
        """Take part, as every process has to for each batch, without one."""
        if not self._world.is_single:
            self._hold_back([])

    def gather(self) -> None:
        """Bring together what all processes took in; all of them have to call this at the same point."""
        self.scalars.gather()
        if self._world.is_single:
            return
        if self._round_robin:
            own_losses = [(step, loss.item(), samples) for step, loss, samples in self._pending]
            self._pending.clear()
        else:
            own_losses = []
        mine = (own_losses, self._own_parts, [counts.state_dict() for counts in self._own_counts])
        losses, parts, counted = zip(*self._world.gather(mine))
        self._own_parts = []
        for loss in _in_order(losses):
            self._add(*loss)
        for part in chain.from_iterable(_in_order(parts)):
            for metric, each in zip(self._others, part):
                update_metric(metric, each)
        for states in counted:
            for counts, state in zip(self._counts, states):
                counts.merge(state)
        for counts in self._own_counts:
            counts.reset()

    def read_losses(self) -> None:
        """Read those that came in as tensors, which waits for a GPU."""
        for step, loss, samples in self._pending:
            value: Any = loss.item()  # float(loss) takes ten times as long.
            self._on_loss(step, value)
            self._add(step, value, samples)
        self._pending.clear()

    def non_finite(self) -> Optional[tuple[int, float]]:
        """(step, value) of the first loss since the last reset that is NaN or infinite."""
        self.read_losses()
        return self._first_non_finite

    @property
    def samples(self) -> int:
        """How many samples came in since the last reset."""
        self.read_losses()
        return self._samples

    def results(self) -> dict[str, float]:
        """`loss` and each metric by name, over all that came in since the last reset."""
        self.read_losses()
        results = {"loss": self._loss_sum / self._samples} if self._samples else {}
        for metric in self._metrics:
            results.update(metric_values(metric))
        return {**results, **self.scalars.results()}

    def log(self, values: Mapping[str, Any]) -> None:
        """Take in further scalars by name; raises ConfigError, also for the name of a metric."""
        self.scalars.add(values, [name for metric in self._metrics for name in metric_names(metric)])

    def so_far(self) -> dict[str, float]:
        """The means as far as this process can tell without moving anything: for a person who watches."""
        loss_sum, samples = self._loss_so_far()
        means = {"loss": loss_sum / samples} if samples else {}
        for metric in self._metrics if self._world.is_single else ():
            # Whether what a class of the user's accumulates is moved by asking for it, nobody knows.
            if is_counted(metric) and not hasattr(metric, "pictures"):
                means.update({name: value for name, value in metric_values(metric).items() if "/" not in name})
        return {**means, **self.scalars.results()}

    def pictures(self) -> dict[str, np.ndarray]:
        """What metrics with a method `pictures()` draw of all since the last reset, uint8 [H, W, 3], by name."""
        drawn: dict[str, np.ndarray] = {}
        for metric in self._metrics:
            if hasattr(metric, "pictures"):
                drawn.update(metric.pictures())
        return drawn

    def reset(self) -> None:
        self._reset_own()
        self.scalars.reset()
        for metric in self._metrics:
            metric.reset()

    def _reset_own(self) -> None:
        self._pending.clear()
        self._loss_sum, self._samples, self._first_non_finite = 0.0, 0, None
        self._own_parts = []
        for counts in self._own_counts:
            counts.reset()

    def prepare_save(self) -> None:
        """Bring together what all processes took in, and read the losses."""
        self.gather()
        self.read_losses()

    def _loss_so_far(self) -> tuple[Any, int]:
        """(sum, samples) with the losses that are not read yet, which stay so."""
        loss_sum: Any = self._loss_sum
        samples = self._samples
        for _, loss, count in self._pending:
            loss_sum, samples = loss_sum + loss.item() * count, samples + count
        return loss_sum, samples

    def state_dict(self) -> dict[str, Any]:
        (loss_sum, samples), logged = self._loss_so_far(), self.scalars.state_dict()
        return {
            "loss_sum": loss_sum,
            "samples": samples,
            **({"logged": logged} if logged else {}),
            "metrics": [
                {"class": type(metric).__name__, "fresh": fresh, "state": self._state_of(metric)}
                for metric, fresh in zip(self._metrics, self._fresh)
            ],
        }

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self._reset_own()
        self.scalars.set_state_dict(state.get("logged", {}))
        self._loss_sum, self._samples = state["loss_sum"], state["samples"]
        for metric, fresh, saved in zip(self._metrics, self._fresh, state["metrics"]):
            if self._is_found(metric) and not saved["state"]:
                continue  # it was put back already
            metric.reset()
            if (saved["class"], saved["fresh"]) != (type(metric).__name__, fresh):
                continue  # another metric than then, as `differences` told: it starts here
            set_metric_state(metric, saved["state"])

    def differences(self, state: dict[str, Any]) -> list[Difference]:
        before = ", ".join(f"{saved['class']} {saved['fresh']}" for saved in state["metrics"]) or "none"
        now = zip(self._metrics, self._fresh)
        after = ", ".join(f"{type(metric).__name__} {fresh}" for metric, fresh in now) or "none"
        return [] if before == after else [Difference("metrics", before, after, argument="Trainer(metrics=)")]

    def _is_found(self, metric: paddle.metric.Metric) -> bool:
        return self._are_found and not hasattr(metric, "state_dict")

    def _state_of(self, metric: paddle.metric.Metric) -> dict[str, Any]:
        if self._is_found(metric):
            return {}
        require_plain(metric)
        return metric_state(metric)

    def _add(self, step: int, value: Any, samples: int) -> None:
        if self._first_non_finite is None and not math.isfinite(value):
            self._first_non_finite = (step, value)
        self._loss_sum += value * samples
        self._samples += samples

    def _hold_back(self, held: list[list[list[Any]]]) -> None:
        self._own_parts.append(held)
        if len(self._own_parts) >= _MOST_PENDING:
            self.gather()


def _in_order(of_ranks: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """What each rank has of each batch, or of each of its turns: batch by batch, and within one rank by rank."""
    for row in zip_longest(*of_ranks):
        yield from (each for each in row if each is not None)
