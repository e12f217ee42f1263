"""The loop of a run: what comes after what, and when it saves, logs, evaluates, goes back and stops."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.checkpointer import Checkpointer
from paddle_resume.checkpoint.finished_weights import save_best_weights, write_weights
from paddle_resume.checkpoint.phases import DONE, EVALUATE, FINISH, TRAIN
from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import EvaluationData, Feed
from paddle_resume.errors import NonFiniteLossError, StateError
from paddle_resume.loggers import Logger
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.lr.stepper import EPOCH, STEP, LRStepper
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners.lbfgs import is_lbfgs
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.stateful import Owners
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.best import Best
from paddle_resume.training.callbacks import Hooks
from paddle_resume.training.divergence import SKIP, Divergence
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.interrupt import SignalWatch
from paddle_resume.training.optimizer_step import Made, Passed, Update, mean_loss
from paddle_resume.training.precision import Precision
from paddle_resume.training.progress import Progress
from paddle_resume.training.saver import Saver

Optimizers = Union[paddle.optimizer.Optimizer, Mapping[str, paddle.optimizer.Optimizer]]


class Loop(ABC):
    """Owns step and phase, makes the steps, and leaves every kind of state to its owner.

    What it works with is put together by the trainer that derives from it.
    """

    world: World
    mesh: Optional[DeviceMesh]
    model: paddle.nn.Layer
    optimizer: Optimizers
    precision: Precision
    ema: Optional[WeightAverage]
    best: Optional[Best]
    divergence: Divergence
    checkpointer: Checkpointer
    progress: Progress
    metrics: RunningMetrics
    random: RandomStreams
    feed: Optional[Feed]
    epochs: int
    max_steps: Optional[int]
    _owners: Owners
    _evaluation: dict[str, Feed]
    _pictures: dict[str, dict[str, np.ndarray]]
    _logbook: Logbook
    _hooks: Hooks
    _saver: Saver
    _signals: SignalWatch
    _heart: Heartbeat
    _rates: LRStepper
    _update: Update
    _log_every: int
    _evaluate_every: Optional[int]
    _evaluate_ema: bool
    _model_path: Optional[Path]
    _check_each_loss: bool
    _step_is_overridden: bool
    _sharers: World
    _from_first: list[paddle.Tensor]
    _averaged_at: int = -1

    @abstractmethod
    def train_step(self, batch: Batch) -> Any: ...

    @abstractmethod
    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]: ...

    @property
    def epoch(self) -> int:
        """The epoch under way or, between two epochs, the one just finished; counted from 0."""
        if self.feed is None:
            return 0
        return self.feed.epoch - 1 if self.feed.between_epochs else self.feed.epoch

    @property
    def loggers(self) -> list[Logger]:
        """The run's loggers, for callbacks that log more than scalars; rank 0's alone, others have none."""
        return self._logbook.loggers

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step (of the first optimizer, if there are several)."""
        first: Any = next(iter(self._optimizers().values()))
        # LBFGS keeps its rate to itself, and lets Paddle tell another.
        return first.learning_rate if is_lbfgs(first) else first.get_lr()

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
            # Also the point at which the processes wait for each other, before their collectives, which do not.
            agreed = self.world.agree(self._saver.is_due(self.progress.step + 1), self._signals.signum)
            self._make_step(batches)
            self._saver.make_ready(self._all_owners())
            if self._update.count(self.feed.steps_in_epoch) % self._log_every == 0:
                self._log_training()
            self._signals.check(self.world, agreed.signum)
            self._saver.collect(self.progress.step)
            if self._evaluation_is_due_now():
                self.progress.phase = EVALUATE
                self._save()  # A kill from here on resumes into the evaluation.
                self._evaluate_and_judge()
                self._save()
                if self.progress.phase != TRAIN:
                    return
            elif agreed.save:
                self._save()
        self._log_training()
        if self.feed.exhausted:
            self.feed.finish_epoch()
            self._rates.after(EPOCH)
            self._call("on_epoch_end")

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
        made = self._update_with(batches)
        self.world.broadcast(self._from_first)
        if made.made:
            self.metrics.add_loss(self.progress.step, made.loss, made.samples)
            for one in made.passed:
                self.metrics.add_output(one.output if one.batch.samples else None, one.batch[-1])
            if self.ema is not None:
                self.ema.update()
        elif self.divergence.policy == SKIP:
            self.divergence.skipped += 1
            self._note_skipped(made)
        self.progress.step += 1
        self._rates.after(STEP)
        if self._check_each_loss:
            self.divergence.check_losses(self.metrics)
        self._heart.beat(self.progress.step, "train")
        self._call("on_step_end")

    def _update_with(self, batches: list[Batch]) -> Made:
        if not self._step_is_overridden:
            return self._update.make(batches)
        (batch,) = batches
        result = self.train_step(batch)
        if not self._sharers.is_single and self._averaged_at != self.progress.step:
            raise StateError(
                f"{type(self).__name__}.train_step makes its updates itself, and with {self.world.size} processes has "
                "to call self.average_gradients(optimizer, batch) between backward() and each optimizer.step(); or "
                "override compute_loss instead."
            )
        loss, output = result if isinstance(result, tuple) else (result, None)
        whole = mean_loss([(loss, batch.samples)], batch.whole, self._sharers)
        return Made([Passed(batch, loss, output)], whole, batch.whole)

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
            self.tell(
                f"Stopping early: {self.best.monitor} has not been better than {self.best.value:.6g}, reached by step "
                f"{self.best.step}, for {self.best.waited} evaluations."
            )
        if improved:
            self._save(BEST)

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
        self._heart.beat(progress.step, "save")
        self.divergence.check_all(self.metrics, self.model, progress.step)
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
            protect=self.divergence.protected,
        )

    def _write_model(self) -> None:
        """The finished weights: the last or the best, and of those the average if that is what was evaluated."""
        if self._model_path is None:
            return
        if self.mesh is not None:
            weights = self.mesh.unsharded_weights(self.model)  # Every process takes part.
            if self.world.is_main:
                write_weights(weights, self._model_path)
            return
        if not self.world.is_main:
            return
        source: Any = self._owners["ema" if self.ema is not None and self._evaluate_ema else "model"]
        if self.best is not None and self.best.final == "best" and self.best.step is not None:
            self._saver.collect(self.progress.step, wait=True)
            folder, name = self.checkpointer.folder, self.checkpointer.name
            save_best_weights(folder / f"{name}_{BEST}", source.suffix, self._model_path)
        else:
            write_weights(source.state_dict(), self._model_path)

    def _log_training(self) -> None:
        if not self.metrics.samples:
            return
        self.divergence.check_losses(self.metrics)
        self.metrics.gather()
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

    def _note_skipped(self, made: Made) -> None:
        loss = f"{float(made.loss):.6g}"
        self.checkpointer.lineage.append({"event": "skip", "step": self.progress.step, "loss": loss})
        self.tell(
            f"Skipped the update of step {self.progress.step}: the loss was {loss}, or a gradient was not finite."
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
        self.tell(
            f"{error.what}. Went back to {prefix}, step {self.progress.step}, and on from there with "
            f"{guard.lr_scale:.4g} times the learning rate (rollback {guard.rollbacks} of {guard.most})."
        )
        return True

    def _last_good(self) -> str:
        return next((str(f.prefix) for f in self.checkpointer.found() if f.record), "")

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
        owners.add("rng", PerRank(self.random, self.world))
        return owners

    def _call(self, hook: str, *args: Any) -> None:
        trainer: Any = self
        self._hooks.call(hook, trainer, *args)

    def tell(self, text: str) -> None:
        """Say what a person should know: to the callbacks that listen for it, or else on stderr. Rank 0 speaks."""
        if not self.world.is_main:
            return
        self._call("on_message", text)
        if not self._hooks.has("on_message"):
            print(text, file=sys.stderr)
