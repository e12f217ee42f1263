"""The trainer: owns step and phase, makes the steps, and leaves every kind of state to its owner."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, Union

import numpy as np
import paddle

from paddle_resume.callbacks import Callback, Hooks, stateful
from paddle_resume.checkpoint import Checkpointer, Restored
from paddle_resume.checkpoint.export import save_weights
from paddle_resume.data.feed import EvaluationData, Feed
from paddle_resume.environment import Environment
from paddle_resume.errors import NonFiniteLossError, StateError
from paddle_resume.evaluation import training_undisturbed
from paddle_resume.interrupt import Interruption, SignalWatch
from paddle_resume.loggers import Logger
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners import paddle_owners
from paddle_resume.owners.tensors import first_non_finite
from paddle_resume.progress import DONE, EVALUATE, FINISH, TRAIN, Progress
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.saving import Saver
from paddle_resume.schedule import SaveSchedule
from paddle_resume.stateful import Owners, Stateful

Batch = list
Optimizers = Union[paddle.optimizer.Optimizer, Mapping[str, paddle.optimizer.Optimizer]]


class Trainer:
    """Trains a model so that an interruption changes nothing.

    Args:
        model: any `paddle.nn.Layer`; for several networks, one Layer that holds them.
        optimizer: a Paddle optimizer, or several by name (each gets a file `.<name>.pdopt`).
        loss: called as `loss(output, label)`, gives the mean over the batch.
        metrics: `paddle.metric.Metric` objects, kept for training and evaluation apart.
        save_dir, name: checkpoints are `<save_dir>/<name>_epoch<E>` and `<save_dir>/<name>_step<S>`.
        logger: one Logger or several; they are cut back and continued on a resume.
        callbacks: see `Callback`. Those with `state_dict` are saved with the run.
        seed: keys the order of the data and all augmentation.
        schedule: when checkpoints are saved.
        background: write them behind training, in a process of its own; else training waits for each.
        keep, keep_epochs: how many step and epoch checkpoints stay; None keeps all.
        log_every: steps between two log records, each the mean since the one before.
        on_nan: `stop` raises NonFiniteLossError before anything of it is saved; `ignore` trains on.
        model_path: where the finished weights go, in the format of `paddle.save`; None writes none.
        owners: further owners of state by name.

    Override `train_step` for another loss or several networks; exact resume does not depend on what is in it.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: Optimizers,
        *,
        loss: Optional[Callable[..., paddle.Tensor]] = None,
        metrics: Sequence[paddle.metric.Metric] = (),
        save_dir: Union[str, Path] = "checkpoint",
        name: str = "model",
        logger: Union[Logger, Sequence[Logger], None] = None,
        callbacks: Sequence[Callback] = (),
        seed: int = 0,
        schedule: Optional[SaveSchedule] = None,
        background: bool = True,
        keep: int = 2,
        keep_epochs: Optional[int] = None,
        log_every: int = 100,
        on_nan: str = "stop",
        model_path: Union[str, Path, None] = None,
        owners: Optional[Mapping[str, Stateful]] = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.checkpointer = Checkpointer(save_dir, name, keep=keep, keep_epochs=keep_epochs, background=background)
        self.progress = Progress()
        self.metrics = RunningMetrics(metrics)
        self.random = RandomStreams(seed)
        self.environment = Environment()
        self.feed: Optional[Feed] = None
        self.epochs = 0
        self.max_steps: Optional[int] = None
        self.restored: Optional[Restored] = None
        self._evaluation: dict[str, Feed] = {}
        self._loggers = [logger] if isinstance(logger, Logger) else list(logger or [])
        self._hooks = Hooks(callbacks)
        self._seed = seed
        self._saver = Saver(
            self.checkpointer,
            schedule or SaveSchedule(),
            check=self._refuse_non_finite,
            landed=lambda prefix: self._call("on_save", prefix),
            tell=self._tell,
        )
        self._log_every = log_every
        self._on_nan = on_nan
        self._model_path = Path(model_path) if model_path is not None else None
        # Reading a loss waits for a GPU, but costs nothing on the CPU.
        self._check_each_loss = paddle.device.get_device() == "cpu"
        self._signals = SignalWatch()
        for each in self._optimizers().values():
            if isinstance(each._learning_rate, paddle.optimizer.lr.ReduceOnPlateau):
                raise StateError("ReduceOnPlateau steps on a metric, which this trainer does not offer yet.")
        self._owners = Owners(environment=self.environment, **paddle_owners(model, self._optimizers()))
        self._owners.add("metrics", self.metrics)
        self._owners.add("progress", self.progress)
        logs = [(f"log.{type(log).__name__}", log) for log in self._loggers]
        for label, owner in [*stateful(callbacks), *(owners or {}).items(), *logs]:
            self._owners.add(label, owner)

    def train(
        self,
        train_data: Any,
        valid_data: Any = None,
        test_data: Any = None,
        *,
        epochs: int = 1,
        max_steps: Optional[int] = None,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        resume: str = "auto",
        allow_inexact: bool = False,
        overwrite: bool = False,
    ) -> dict[str, float]:
        """Train until `epochs` or `max_steps` is reached, from wherever the run stands; returns the last metrics.

        Data are datasets or `paddle.io.DataLoader`s. `resume` is `auto` (continue this run if it has a
        checkpoint), a checkpoint's prefix, or `none`. The run evaluates on `valid_data` after each epoch and
        on `test_data` at its end. Raises CheckpointError, InexactResumeError, NonFiniteLossError, and
        SaveError if the last save failed; Ctrl-C and SIGTERM save, then end the process as usual.
        """
        options = {"seed": self._seed, "batch_size": batch_size, "num_workers": num_workers}
        self.feed = Feed.of(train_data, shuffle=shuffle, drop_last=drop_last, **options)
        given = {"valid": valid_data, "test": test_data}
        self._evaluation = {
            split: Feed.of(data, shuffle=False, **options) for split, data in given.items() if data is not None
        }
        self.epochs, self.max_steps = epochs, max_steps
        if self.feed.note:
            self._tell(self.feed.note)
        with self._signals:
            try:
                self.resume(resume, allow_inexact=allow_inexact, overwrite=overwrite)
                with preserved():  # It runs at every start, so what it draws must not count.
                    self._call("on_train_begin")
                self._run()
                self._saver.collect(self.progress.step, wait=True)
            except Interruption:
                if not self._saver.has_saved(self.progress.step, self.progress.phase):
                    self._save()
                self._saver.collect(self.progress.step, wait=True)
                saved = "" if self._saver.failed is None else " That step could not be saved."
                self._tell(f"Stopped after step {self.progress.step}.{saved} Run the same command again to continue.")
                self._signals.leave()
            finally:
                self._call("on_train_end")
                for logger in self._loggers:
                    logger.close()
                self.checkpointer.close()
        if self._saver.failed is not None:
            raise self._saver.failed
        return self.progress.results

    def resume(self, resume: str = "auto", *, allow_inexact: bool = False, overwrite: bool = False) -> None:
        """Bring every owner back to the checkpoint that `resume` means, or make ready for a fresh start."""
        self.restored = None
        if resume == "none":
            removed = self.checkpointer.start_over(overwrite)
            if removed:
                self._tell(f"Starting over: removed {removed} checkpoints of the run before.")
        else:
            self.restored = self.checkpointer.restore(self._all_owners(), resume, allow_inexact=allow_inexact)
        if self.restored is None:
            for logger in self._loggers:
                logger.start_over()
            return
        for line in self.restored.passed_over:
            self._tell(f"Passed over {line}.")
        if self.progress.phase == DONE and not self._reached_the_end():
            self.progress.phase = TRAIN  # The run was finished, and is now wanted longer.

    def _run(self) -> None:
        """The whole loop. Each phase ends by naming the next one and saving, so a kill repeats at most one."""
        if self.progress.phase == DONE and self._model_path is not None and not self._model_path.exists():
            self._write_model()
        while self.progress.phase != DONE:
            if self.progress.phase == TRAIN:
                self.train_epoch()
                self.progress.phase = EVALUATE
            elif self.progress.phase == EVALUATE:
                self._evaluate_and_log("valid")
                self.progress.phase = FINISH if self._reached_the_end() else TRAIN
            elif self.progress.phase == FINISH:
                self._evaluate_and_log("test")
                self._write_model()
                self.progress.phase = DONE
            if self._epoch_is_due() or self.progress.phase == DONE:
                self._save()

    def train_epoch(self) -> None:
        """Make the steps that are left of the current epoch, saving and logging as they fall due."""
        assert self.feed is not None
        self.model.train()
        if self.feed.samples == 0:
            self._call("on_epoch_begin")
        for batch in self._batches_left():
            self._make_step(batch)
            self._saver.make_ready(self._all_owners())
            if self.feed.steps_in_epoch % self._log_every == 0:
                self._log_training()
            self._signals.check()
            self._saver.collect(self.progress.step)
            if self._saver.is_due(self.progress.step):
                self._save()
        self._log_training()
        if self.feed.exhausted:
            self.feed.finish_epoch()
            self._call("on_epoch_end")

    def train_step(self, batch: Batch) -> Any:
        """One optimizer update on a batch `[*inputs, label]`; returns the loss, or (loss, output) for metrics.

        Override it for another loss or several networks. The scheduler's step and the metrics are left to
        the trainer.
        """
        *inputs, label = batch
        if self.loss is None or not isinstance(self.optimizer, paddle.optimizer.Optimizer):
            raise StateError("Without a loss, or with several optimizers, Trainer.train_step has to be overridden.")
        output = self.model(*inputs)
        loss = self.loss(output, label)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return loss, output

    def evaluate_step(self, batch: Batch) -> Any:
        """Loss and output of a batch `[*inputs, label]`, without gradients."""
        *inputs, label = batch
        if self.loss is None:
            raise StateError("Without a loss, Trainer.evaluate_step has to be overridden.")
        output = self.model(*inputs)
        return self.loss(output, label), output

    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`; moves no generator and nothing else that training depends on."""
        feed = Feed.of(data, **{"seed": self._seed, "shuffle": False, **options})
        metrics = self.metrics.fresh()
        self._call("on_evaluate_begin", split)
        with training_undisturbed(self.model):
            for batch in feed.from_start():
                loss, output = self.evaluate_step(batch)
                metrics.update(self.progress.step, loss, output, batch[-1], len(batch[0]))
                self._signals.check()
                self._call("on_evaluate_step")
        results = metrics.results()
        self._call("on_evaluate_end", split, results)
        return results

    def predict(self, data: Any, **options: Any) -> np.ndarray:
        """The model's outputs [N, ...] for all of `data`; the last item of each sample is taken for a label."""
        feed = Feed.of(data, **{"seed": self._seed, "shuffle": False, **options})
        with training_undisturbed(self.model):
            return np.concatenate([self.model(*(batch[:-1] or batch)).numpy() for batch in feed.from_start()])

    def save(self, tag: Optional[str] = None) -> Path:
        """Save a checkpoint now, as `<name>_<tag>` (default `step<S>`).

        Raises SaveError, and NonFiniteLossError rather than save what such a loss has touched.
        """
        self._save(tag)
        self._saver.collect(self.progress.step, wait=True)
        if self._saver.failed is not None:
            raise self._saver.failed
        return self.checkpointer.folder / f"{self.checkpointer.name}_{tag or f'step{self.progress.step}'}"

    @property
    def epoch(self) -> int:
        """The epoch under way or, between two epochs, the one just finished; counted from 0."""
        if self.feed is None:
            return 0
        return self.feed.epoch - 1 if self.feed.between_epochs else self.feed.epoch

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step (of the first optimizer, if there are several)."""
        return next(iter(self._optimizers().values())).get_lr()

    def _batches_left(self) -> Iterator[Batch]:
        """The batches that are left of the current epoch, as far as `max_steps` goes."""
        assert self.feed is not None
        batches = self.feed.remaining()
        while not self._made_all_steps():
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _make_step(self, batch: Batch) -> None:
        self.random.begin_step(self.progress.step)
        self._call("on_step_begin")
        self.progress.learning_rate = self.learning_rate
        result = self.train_step(batch)
        loss, output = result if isinstance(result, tuple) else (result, None)
        self.metrics.update(self.progress.step, loss, output, batch[-1], len(batch[0]))
        self.progress.step += 1
        for optimizer in self._optimizers().values():
            if isinstance(optimizer._learning_rate, paddle.optimizer.lr.LRScheduler):
                optimizer._learning_rate.step()
        if self._check_each_loss:
            self._refuse_non_finite_loss()
        self._call("on_step_end")

    def _reached_the_end(self) -> bool:
        assert self.feed is not None
        return self._made_all_steps() or self.feed.epoch >= self.epochs

    def _made_all_steps(self) -> bool:
        return self.max_steps is not None and self.progress.step >= self.max_steps

    def _epoch_is_due(self) -> bool:
        """Whether an epoch has just ended after which an epoch checkpoint is saved."""
        assert self.feed is not None
        return self.feed.between_epochs and self._saver.schedule.epoch_is_due(self.epoch)

    def _save(self, tag: Optional[str] = None) -> None:
        """Begin a save, if not told otherwise under the name that fits the position."""
        tag = tag or (f"epoch{self.epoch}" if self._epoch_is_due() else f"step{self.progress.step}")
        progress = self.progress
        self._saver.begin(self._all_owners(), step=progress.step, tag=tag, epoch=self.epoch, phase=progress.phase)

    def _write_model(self) -> None:
        if self._model_path is not None:
            save_weights(self._owners["model"], self._model_path)

    def _log_training(self) -> None:
        if not self.metrics.samples:
            return
        self._refuse_non_finite_loss()
        self._log("train", {**self.metrics.results(), "lr": self.progress.learning_rate}, self.progress.step)
        self.metrics.reset()

    def _evaluate_and_log(self, split: str) -> None:
        if split in self._evaluation:
            self._log(split, self.evaluate(self._evaluation[split], split), self.epoch)

    def _log(self, split: str, scalars: dict[str, float], step: int) -> None:
        tagged = {f"{split}/{name}": value for name, value in scalars.items()}
        self.progress.results.update(tagged)
        for logger in self._loggers:
            logger.log_scalars(tagged, step)
        self._call("on_log", tagged)

    def _refuse_non_finite(self) -> None:
        """Before a save: also the last update must not have ruined the weights, of which no loss tells yet."""
        self._refuse_non_finite_loss()
        name = first_non_finite(self.model) if self._on_nan == "stop" else None
        if name is not None:
            self._refuse(f"The weights {name} became NaN or infinite by step {self.progress.step - 1} (counted from 0)")

    def _refuse_non_finite_loss(self) -> None:
        found = self.metrics.non_finite() if self._on_nan == "stop" else None
        if found is not None:
            self._refuse(f"The loss became {found[1]} in step {found[0]} (counted from 0)")

    def _refuse(self, what: str) -> NoReturn:
        good = next((str(f.prefix) for f in self.checkpointer.found() if f.record), None)
        raise NonFiniteLossError(
            f"{what}. Nothing of it was saved; the last good checkpoint is {good or 'none: nothing was saved yet'}. "
            "Lower the learning rate, or look at the data of that step; set trainer.on_nan: ignore to train on "
            "regardless."
        )

    def _optimizers(self) -> dict[str, paddle.optimizer.Optimizer]:
        if isinstance(self.optimizer, paddle.optimizer.Optimizer):
            return {"": self.optimizer}
        return dict(self.optimizer)

    def _all_owners(self) -> Owners:
        """All owners in the order in which they are restored: the random streams last."""
        owners = Owners(**self._owners)
        if self.feed is not None:
            owners.add("data", self.feed)
            owners.add("evaluation", EvaluationData(self._evaluation))
        owners.add("rng", self.random)
        return owners

    def _call(self, hook: str, *args: Any) -> None:
        self._hooks.call(hook, self, *args)

    def _tell(self, text: str) -> None:
        self._call("on_message", text)
        if not self._hooks.has("on_message"):
            print(text, file=sys.stderr)
