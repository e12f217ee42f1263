"""The trainer: owns step and phase, makes the steps, and leaves every kind of state to its owner."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle

from paddle_resume.best import Best
from paddle_resume.callbacks import Callback, Hooks, stateful
from paddle_resume.checkpoint import Checkpointer, Restored
from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.export import save_best_weights, save_weights
from paddle_resume.data.feed import EvaluationData, Feed
from paddle_resume.divergence import SKIP, STOP, Divergence
from paddle_resume.ema import AverageProgress, WeightAverage
from paddle_resume.environment import Environment
from paddle_resume.errors import NonFiniteLossError, StateError
from paddle_resume.evaluation import training_undisturbed
from paddle_resume.interrupt import Interruption, SignalWatch
from paddle_resume.loggers import Logger
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners import paddle_owners
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.precision import Precision, readable_output
from paddle_resume.progress import DONE, EVALUATE, FINISH, TRAIN, Progress
from paddle_resume.rate_steps import EPOCH, STEP, RateSteps
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.saving import Saver
from paddle_resume.schedule import SaveSchedule
from paddle_resume.stateful import Owners, Stateful
from paddle_resume.update import Batch, Passed, Update, parameters_of

Optimizers = Union[paddle.optimizer.Optimizer, Mapping[str, paddle.optimizer.Optimizer]]


class Trainer:
    """Trains a model so that an interruption changes nothing.

    Args:
        model: any `paddle.nn.Layer`; for several networks, one Layer that holds them.
        optimizer: a Paddle optimizer, or several by name (each gets a file `.<name>.pdopt`).
        loss: called as `loss(output, label)`, gives the mean over the batch.
        metrics: `paddle.metric.Metric` objects, kept for training and evaluation apart; see `RunningMetrics`.
        save_dir, name: checkpoints are `<save_dir>/<name>_epoch<E>` and `<save_dir>/<name>_step<S>`.
        logger: one Logger or several; they are cut back and continued on a resume.
        callbacks: see `Callback`. Those with `state_dict` are saved with the run.
        seed: keys the order of the data and all augmentation.
        schedule: when checkpoints are saved.
        background: write them behind training, in a process of its own; else training waits for each.
        keep, keep_epochs: how many step and epoch checkpoints stay; None keeps all.
        log_every: steps between two log records, each the mean since the one before.
        evaluate_every: steps between two evaluations; None evaluates after each epoch.
        accumulate_steps: batches whose gradients make up one step.
        lr_interval: whether LR schedulers step after each `step` or each `epoch`. A ReduceOnPlateau steps after
            each evaluation instead, by `lr_metric`, such as `valid/loss`.
        precision: mixed precision; None computes in float32.
        ema: an average of the weights, kept in a `.pdema` beside each checkpoint.
        evaluate_ema: evaluate, and write the finished weights, with that average in place of the weights.
        best: which evaluation counts as the best, whose checkpoint `<save_dir>/<name>_best` is kept; may stop early.
        on_nan: what a loss that is NaN or infinite does: `stop` raises NonFiniteLossError before anything of it is
            saved; `skip`, `rollback`, `ignore`: see `Divergence`, which can be given itself.
        model_path: where the finished weights go, in the format of `paddle.save`; None writes none.
        owners: further owners of state by name.

    Override `compute_loss` for another loss, and `train_step` for several networks; exact resume does not depend on
    what is in them.
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
        evaluate_every: Optional[int] = None,
        accumulate_steps: int = 1,
        lr_interval: str = STEP,
        lr_metric: str = "valid/loss",
        precision: Optional[Precision] = None,
        ema: Optional[WeightAverage] = None,
        evaluate_ema: bool = True,
        best: Optional[Best] = None,
        on_nan: Union[str, Divergence] = STOP,
        model_path: Union[str, Path, None] = None,
        owners: Optional[Mapping[str, Stateful]] = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.precision = precision or Precision()
        self.precision.prepare(model, self._optimizers())
        self.ema = ema
        self.best = best
        self.divergence = on_nan if isinstance(on_nan, Divergence) else Divergence(on_nan)
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
        self._pictures: dict[str, dict[str, np.ndarray]] = {}
        self._logbook = Logbook(logger)
        self._hooks = Hooks(callbacks)
        self._seed = seed
        self._saver = Saver(
            self.checkpointer,
            schedule or SaveSchedule(),
            check=lambda: self.divergence.check_all(self.metrics, model, self.progress.step),
            landed=lambda prefix: self._call("on_save", prefix),
            tell=self._tell,
        )
        self._log_every = log_every
        self._evaluate_every = evaluate_every
        self._rates = RateSteps(self._optimizers(), lr_interval, lr_metric)
        self._evaluate_ema = evaluate_ema
        self._update = self._build_update(accumulate_steps)
        self._model_path = Path(model_path) if model_path is not None else None
        # Reading a loss waits for a GPU, but costs nothing on the CPU.
        self._check_each_loss = paddle.device.get_device() == "cpu"
        self._signals = SignalWatch()
        self._owners = Owners(environment=self.environment, **paddle_owners(model, self._optimizers()))
        self._owners.add("metrics", self.metrics)
        self._owners.add("progress", self.progress)
        self._owners.add("precision", self.precision)
        self._owners.add("update", self._update)
        self.divergence.watch([p for each in self._optimizers().values() for p in parameters_of(each)])
        self._owners.add("divergence", self.divergence)
        if ema is not None:
            ema.follow(model)
            self._owners.add("ema", ema)
            self._owners.add("ema.progress", AverageProgress(ema))
        if best is not None:
            self._owners.add("best", best)
        for label, owner in [*stateful(callbacks), *(owners or {}).items(), *self._logbook.owners()]:
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
        for note in (self.feed.note, self.precision.note, self._update.note(self.model)):
            if note:
                self._tell(note)
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
                self._logbook.close()
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
            self._logbook.start_over()
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
            try:
                self._run_phase()
            except NonFiniteLossError as error:
                if not self._roll_back(error):
                    raise error.after(self._last_good(), self.divergence.advice) from None

    def _run_phase(self) -> None:
        if self.progress.phase == TRAIN:
            self.train_epoch()
            if self.progress.phase == TRAIN:
                self.progress.phase = EVALUATE
        elif self.progress.phase == EVALUATE:
            self._evaluate_and_judge()
        elif self.progress.phase == FINISH:
            self._evaluate_and_log("test")
            self._write_model()
            self.progress.phase = DONE
        if self._epoch_is_due() or self.progress.phase == DONE:
            self._save()

    def train_epoch(self) -> None:
        """Make the steps that are left of the current epoch, saving, logging and evaluating as they fall due."""
        assert self.feed is not None
        self.model.train()
        if self.feed.samples == 0:
            self._call("on_epoch_begin")
        for batches in self._batches_left():
            self._make_step(batches)
            self._saver.make_ready(self._all_owners())
            if self._update.count(self.feed.steps_in_epoch) % self._log_every == 0:
                self._log_training()
            self._signals.check()
            self._saver.collect(self.progress.step)
            if self._evaluation_is_due_now():
                self.progress.phase = EVALUATE
                self._save()  # A kill from here on resumes into the evaluation.
                self._evaluate_and_judge()
                self._save()
                if self.progress.phase != TRAIN:
                    return
            elif self._saver.is_due(self.progress.step):
                self._save()
        self._log_training()
        if self.feed.exhausted:
            self.feed.finish_epoch()
            self._rates.after(EPOCH)
            self._call("on_epoch_end")

    def compute_loss(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        """(mean loss, output) of a batch `[*inputs, label]`; override it for another loss."""
        *inputs, label = batch
        if self.loss is None:
            raise StateError("Without a loss, Trainer.compute_loss or Trainer.train_step has to be overridden.")
        output = readable_output(self.model(*inputs))
        return self.loss(output, label), output

    def train_step(self, batch: Batch) -> Any:
        """One optimizer update on a batch `[*inputs, label]`; returns the loss, or (loss, output) for metrics.

        Override it for several networks. The scheduler's step and the metrics are left to the trainer.
        """
        (passed,), _ = self._update.make([batch])
        return passed.loss, passed.output

    def evaluate_step(self, batch: Batch) -> Any:
        """Loss and output of a batch `[*inputs, label]`, without gradients."""
        return self.compute_loss(batch)

    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`; moves no generator and nothing else that training depends on."""
        feed = Feed.of(data, **{"seed": self._seed, "shuffle": False, **options})
        metrics = self.metrics.fresh(split)
        self._call("on_evaluate_begin", split)
        with training_undisturbed(self.model), self._weights_to_evaluate(), self.precision.autocast():
            for batch in feed.from_start():
                loss, output = self.evaluate_step(batch)
                metrics.update(self.progress.step, loss, output, batch[-1], len(batch[0]))
                self._signals.check()
                self._call("on_evaluate_step")
        results, self._pictures[split] = metrics.results(), metrics.pictures()
        self._call("on_evaluate_end", split, results)
        return results

    def predict(self, data: Any, **options: Any) -> np.ndarray:
        """The model's outputs [N, ...] for all of `data`; the last item of each sample is taken for a label."""
        feed = Feed.of(data, **{"seed": self._seed, "shuffle": False, **options})
        with training_undisturbed(self.model), self._weights_to_evaluate(), self.precision.autocast():
            outputs = (self.model(*(batch[:-1] or batch)) for batch in feed.from_start())
            return np.concatenate([readable_output(output).numpy() for output in outputs])

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
        first: Any = next(iter(self._optimizers().values()))
        # LBFGS keeps its rate to itself, and lets Paddle tell another.
        return first.learning_rate if is_lbfgs(first) else first.get_lr()

    def _build_update(self, accumulate_steps: int) -> Update:
        overridden = type(self).train_step is not Trainer.train_step
        if overridden and (accumulate_steps > 1 or self.divergence.policy == SKIP):
            raise StateError(
                f"{type(self).__name__}.train_step makes its updates itself, so accumulate_steps and on_nan='skip' "
                "cannot work with it; override compute_loss instead, or leave them out."
            )
        return Update(
            self.compute_loss,
            self._optimizers(),
            self.precision,
            accumulate_steps=accumulate_steps,
            skip_non_finite=self.divergence.policy == SKIP,
        )

    def _batches_left(self) -> Iterator[list[Batch]]:
        """The batches of each step that is left of the current epoch, as far as `max_steps` goes."""
        assert self.feed is not None
        batches = self.feed.remaining()
        while not self._made_all_steps():
            group = list(islice(batches, self._update.accumulate_steps))
            if not group:
                return
            yield group

    def _make_step(self, batches: list[Batch]) -> None:
        self.random.begin_step(self.progress.step)
        self._call("on_step_begin")
        self.progress.learning_rate = self.learning_rate
        passed, made = self._update_with(batches)
        if made:
            for one in passed:
                self.metrics.update(self.progress.step, one.loss, one.output, one.batch[-1], one.samples)
            if self.ema is not None:
                self.ema.update()
        elif self.divergence.policy == SKIP:
            self.divergence.skipped += 1
            self._note_skipped(passed)
        self.progress.step += 1
        self._rates.after(STEP)
        if self._check_each_loss:
            self.divergence.check_losses(self.metrics)
        self._call("on_step_end")

    def _update_with(self, batches: list[Batch]) -> tuple[list[Passed], bool]:
        if type(self).train_step is Trainer.train_step:
            return self._update.make(batches)
        (batch,) = batches
        result = self.train_step(batch)
        loss, output = result if isinstance(result, tuple) else (result, None)
        return [Passed(batch, loss, output)], True

    def _evaluation_is_due_now(self) -> bool:
        """Whether to evaluate in the middle of an epoch; at its end, and at the run's, the phases see to it."""
        assert self.feed is not None
        every = self._evaluate_every
        due = every is not None and self.progress.step % every == 0
        return due and not self.feed.exhausted and not self._made_all_steps()

    def _evaluate_and_judge(self) -> None:
        """Evaluate where that is due, and draw the conclusions: the rate, the best checkpoint, whether to go on."""
        every, progress = self._evaluate_every, self.progress
        due = every is None or progress.step % every == 0 or self._reached_the_end()
        results = self._evaluate_and_log("valid") if due else {}
        if results:
            self._rates.after_evaluation(results)
        improved = bool(results) and self.best is not None and self.best.consider(results, progress.step)
        gave_up = self.best is not None and self.best.gave_up
        progress.phase = FINISH if gave_up or self._reached_the_end() else TRAIN
        if gave_up and self.best is not None:
            self._log_training()
            self._tell(
                f"Stopping early: {self.best.monitor} has not been better than {self.best.value:.6g}, reached by step "
                f"{self.best.step}, for {self.best.waited} evaluations."
            )
        if improved:
            self._save(BEST)

    def _last_good(self) -> str:
        return next((str(f.prefix) for f in self.checkpointer.found() if f.record), "")

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
        scheduled = self._epoch_is_due() or self._saver.schedule.step_is_due(progress.step)
        if scheduled and tag != BEST:
            # Only these: where a run was interrupted must not decide where it goes back to.
            self.divergence.target = f"{self.checkpointer.name}_{tag}"
        self._saver.begin(
            self._all_owners(),
            step=progress.step,
            tag=tag,
            epoch=self.epoch,
            phase=progress.phase,
            protect=self.divergence.target,
        )

    def _write_model(self) -> None:
        """The finished weights: the last or the best, and of those the average if that is what was evaluated."""
        if self._model_path is None:
            return
        source: Any = self._owners["ema" if self.ema is not None and self._evaluate_ema else "model"]
        if self.best is not None and self.best.final == "best" and self.best.step is not None:
            self._saver.collect(self.progress.step, wait=True)
            folder, name = self.checkpointer.folder, self.checkpointer.name
            save_best_weights(folder / f"{name}_{BEST}", source.suffix, self._model_path)
        else:
            save_weights(source, self._model_path)

    def _log_training(self) -> None:
        if not self.metrics.samples:
            return
        self.divergence.check_losses(self.metrics)
        self._pictures["train"] = self.metrics.pictures()
        self._log("train", {**self.metrics.results(), "lr": self.progress.learning_rate}, self.progress.step)
        self.metrics.reset()

    def _evaluate_and_log(self, split: str) -> dict[str, float]:
        """The results by tag, such as `valid/acc`; empty if there is no such data."""
        if split not in self._evaluation:
            return {}
        at = self.epoch if self._evaluate_every is None else self.progress.step
        return self._log(split, self.evaluate(self._evaluation[split], split), at)

    def _log(self, split: str, scalars: dict[str, float], step: int) -> dict[str, float]:
        tagged = self._logbook.write(split, scalars, step)
        self._logbook.draw(split, self._pictures.pop(split, {}), step)
        self.progress.results.update(tagged)
        self._call("on_log", tagged)
        return tagged

    def _note_skipped(self, passed: list[Passed]) -> None:
        losses = ", ".join(f"{float(one.loss):.6g}" for one in passed)
        self.checkpointer.lineage.append({"event": "skip", "step": self.progress.step, "loss": losses})
        self._tell(
            f"Skipped the update of step {self.progress.step}: the loss was {losses}, or a gradient was not finite."
        )

    def _roll_back(self, error: NonFiniteLossError) -> bool:
        """Go back to the last scheduled checkpoint, and on from there with a lower rate; False if that cannot be."""
        guard, step = self.divergence, self.progress.step
        if not guard.may_roll_back:
            return False
        self._saver.collect(step, wait=True)
        lineage, prefix = self.checkpointer.lineage, self.checkpointer.folder / guard.target
        guard.roll_back(lambda: self.checkpointer.restore(self._all_owners(), str(prefix), allow_inexact=True))
        event = {"event": "rollback", "step": step, "to": prefix.name, "lr_scale": guard.lr_scale}
        self.checkpointer.lineage = [*lineage, event]
        self._tell(
            f"{error.what}. Went back to {prefix}, step {self.progress.step}, and on from there with "
            f"{guard.lr_scale:.4g} times the learning rate (rollback {guard.rollbacks} of {guard.most})."
        )
        return True

    def _weights_to_evaluate(self) -> AbstractContextManager[None]:
        return self.ema.in_place() if self.ema is not None and self._evaluate_ema else nullcontext()

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
