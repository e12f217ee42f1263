"""The loop of a run: what comes after what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Optional

import paddle

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.checkpoint.phases import DONE, EVALUATE, FINISH, TRAIN
from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.errors import DataError, NonFiniteLossError, PaddleResumeError, StateError
from paddle_resume.lr.stepper import EPOCH, STEP, LRStepper
from paddle_resume.metrics import RunningMetrics
from paddle_resume.parallel.step_agreement import StepAgreement
from paddle_resume.parallel.world import World
from paddle_resume.rng import RandomStreams
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.divergence import SKIP, Divergence
from paddle_resume.training.ending import Ending
from paddle_resume.training.evaluator import Evaluator
from paddle_resume.training.finished_model import FinishedModel
from paddle_resume.training.hooks import Hooks
from paddle_resume.training.interrupt import Interruption, SignalWatch
from paddle_resume.training.made_again import MadeAgain
from paddle_resume.training.options import Monitoring
from paddle_resume.training.progress import Progress
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.run_log import RunLog
from paddle_resume.training.run_saver import RunSaver
from paddle_resume.training.step_result import StepResult
from paddle_resume.training.step_runner import StepRunner


@dataclass
class TrainingLoop:
    """Makes the steps of a run, and evaluates, logs, saves, goes back and stops where that is due.

    Each phase ends by naming the next one and saving, so that a kill repeats at most one. All that it works with is
    put together by the trainer.
    """

    model: paddle.nn.Layer
    progress: Progress
    length: RunLength
    feed: Feed
    evaluation: Mapping[str, Feed]
    random: RandomStreams
    steps: StepRunner
    lr: LRStepper
    metrics: RunningMetrics
    divergence: Divergence
    monitoring: Monitoring
    evaluator: Evaluator
    log: RunLog
    saver: RunSaver
    made_again: MadeAgain
    finished: FinishedModel
    ending: Ending
    hooks: Hooks
    world: World
    agreement: StepAgreement
    data_parallel: World
    """The processes that share each batch, a data-parallel group."""
    statistics: list[paddle.Tensor]
    """What no gradient moves, and all processes take over from rank 0 after each step."""
    signals: SignalWatch
    heart: Heartbeat
    learning_rate: Callable[[], float]
    """Gives the rate of the next step."""
    as_now: Callable[[bool], Callable[[], None]]
    """Gives what brings back all that was found in the run and, where that is asked for, what its owners hold too."""
    tell: Callable[[str], None]
    step_error: Callable[[Exception, Sequence[Batch], str, bool], Optional[Exception]]
    """Gives the error that names the sample which made a step fail; None if it was not one sample."""

    def run(self) -> None:
        """Go on from wherever the run stands until it is done."""
        if self.progress.phase == DONE and self.finished.is_missing:
            self.finished.write()
        while self.progress.phase != DONE:
            try:
                self._run_phase()
            except NonFiniteLossError as error:
                self.saver.roll_back(error)
                if self.progress.before_end is not None and not self.is_at_end:
                    self.ending.undo()  # It went back to a checkpoint that was a shorter run's last.
                self.ending.restored()

    def _run_phase(self) -> None:
        phase, within_epoch = self.progress.phase, not (self.feed.between_epochs or self._made_all_steps)
        if phase == TRAIN:
            self._train_epoch()
        elif phase == EVALUATE:
            self._evaluate()
        else:
            self._evaluate_split("test")
            self.finished.write()
            self.progress.phase = DONE
        if self.saver.epoch_is_due or self.progress.phase == DONE or (phase == EVALUATE and within_epoch):
            self.saver.save()

    def _train_epoch(self) -> None:
        """Make the steps that are left of the current epoch, saving, logging and evaluating as they fall due."""
        if self.feed.samples == 0:  # Within an epoch, each layer's mode is part of what was restored.
            self.model.train()
            self.hooks.call("on_epoch_begin")
        for batches in self._batches_left():
            # Also the point at which the processes wait for each other, before collectives which do not.
            step = self.progress.step + 1
            self.agreement.begin(self.saver.is_due(step), self.signals.signum, self.saver.memory_is_due(step))
            self._make_step(batches)
            agreed = self.agreement.end()
            self.saver.make_ready()
            if self.steps_in_epoch % self.monitoring.log_every == 0:
                self.log.training()
            if self._evaluation_is_due_now():
                self.progress.phase = EVALUATE  # A stop or a kill from here on resumes into the evaluation.
            self.signals.check(self.world, agreed.signum)
            self.saver.collect()
            if agreed.save or self.progress.phase == EVALUATE:
                self.saver.save()
            elif agreed.memory:
                self.saver.keep_in_memory()
            if self.progress.phase == EVALUATE:
                self._evaluate()
                self.saver.save()
                if self.progress.phase != TRAIN:
                    return
        if not self.feed.exhausted:
            self.ending.begin(EVALUATE if self._is_on_cadence else TRAIN)
        self.log.training()
        if self.feed.exhausted:
            self.feed.finish_epoch()
            self.lr.after(EPOCH)
            self.hooks.call("on_epoch_end")
        self.progress.phase = EVALUATE

    def _batches_left(self) -> Iterator[list[Batch]]:
        """The batches of each step that is left of the current epoch, as far as `max_steps` goes."""
        batches = self.feed.remaining()
        while not self._made_all_steps:
            try:
                group = list(islice(batches, self.length.accumulate_steps))
            except DataError as error:
                raise DataError(f"In {self.length.where(self.progress.step)} of the training: {error}") from error
            if not group:
                return
            yield group

    def _make_step(self, batches: list[Batch]) -> None:
        self.random.begin_step(self.progress.step)
        self.metrics.scalars.next_turn()
        self.hooks.call("on_step_begin")
        self.progress.learning_rate = self.learning_rate()
        step, data = self.progress.step, self.made_again.digest(batches)
        logged = self.metrics.scalars.mark()
        result = self._run_step(batches)
        self.data_parallel.broadcast(self.statistics)
        if result.applied:
            self.metrics.add_loss(step, result.loss, result.samples)
            for group in result.by_batch:
                self.metrics.add_outputs([(one.output, one.batch.label) for one in group if one.batch.local_size])
            if self.monitoring.ema is not None:
                self.monitoring.ema.update()
        else:
            self.metrics.scalars.forget_since(logged)
            self._leave_out(float(result.loss))
        self.progress.step += 1
        self.lr.after(STEP)
        if self.divergence.checks_each_loss:
            self.divergence.check_losses(self.metrics)
        if self.made_again.is_last(step):
            self.metrics.read_losses()
        self.made_again.step_made(step, data)
        self.heart.beat(self.progress.step, "train")
        self.hooks.call("on_step_end")

    def _run_step(self, batches: list[Batch]) -> StepResult:
        try:
            return self.steps.run(batches)
        except StateError as error:
            raise StateError(f"In {self.length.where(self.progress.step)} of the training: {error}") from error
        except PaddleResumeError:
            raise
        except Exception as error:
            where = f"In {self.length.where(self.progress.step)} of the training"
            named = self.step_error(error, batches, where, self.feed.is_stream)
            if named is None:
                raise
            raise named from error

    def _leave_out(self, loss: float) -> None:
        """The update of the step was not applied; a loss scale that was too large is no news."""
        self.made_again.add_loss(self.progress.step, loss)
        if self.divergence.policy == SKIP:
            self.divergence.skipped += 1
            self.saver.skipped(loss)

    def _evaluate(self) -> None:
        """Evaluate where that is due, and draw the conclusions: the rate, the best checkpoint, whether to go on."""
        best, step = self.monitoring.best, self.progress.step
        is_first_best = best is not None and best.step is None
        if self.is_at_end and not self._is_on_cadence:
            self.ending.begin()
        results = self._evaluate_split("valid") if self._is_on_cadence or self.is_at_end else {}
        if results:
            self.lr.after_evaluation(results)
        improved = bool(results) and best is not None and best.consider(results, step)
        gave_up = best is not None and best.gave_up
        if gave_up or self.is_at_end:
            self.ending.begin()
        self.progress.phase = FINISH if gave_up or self.is_at_end else TRAIN
        if gave_up and best is not None:
            self.log.training()
            self.tell(f"Stopping early: {best.why_gave_up}.")
        if improved and (self._is_on_cadence or is_first_best):
            self.saver.save(BEST)
        elif improved:
            self.tell(
                f"The evaluation at the run's end, step {step}, is the best so far. Its weights are those of the last "
                "checkpoint; that of the best stays as it was, since a longer run would need it."
            )

    def _evaluate_split(self, split: str) -> dict[str, float]:
        """The results by tag, such as `valid/acc`; empty if there is no such data."""
        if split not in self.evaluation:
            return {}
        step = self.progress.step
        # A stop saves nothing where this step has a checkpoint; only else all of a model is to be copied.
        put_back = self.as_now(not self.world.broadcast_object(self.saver.has_saved_here))
        try:
            results = self.evaluator.evaluate(self.evaluation[split], split, step)
        except Interruption:
            put_back()  # The evaluation begins again in the next start, with all as it was before this one.
            raise
        at = self.saver.epoch if self.monitoring.evaluate_every is None else step
        return self.log.write(split, results, self.evaluator.pictures, at)

    @property
    def steps_in_epoch(self) -> int:
        """Steps of the current epoch that were made; between two epochs, all of the one before."""
        return self.length.steps_of(self.feed.batches_in_epoch)

    @property
    def _is_on_cadence(self) -> bool:
        """Whether a run that goes on evaluates here as well; the end of a run is evaluated in any case."""
        every = self.monitoring.evaluate_every
        return self.feed.between_epochs if every is None else self.progress.step % every == 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left to train."""
        return self._made_all_steps or self.feed.epoch >= self.length.epochs

    @property
    def _made_all_steps(self) -> bool:
        return self.length.max_steps is not None and self.progress.step >= self.length.max_steps

    def _evaluation_is_due_now(self) -> bool:
        """Whether to evaluate in the middle of an epoch; at its end, and at the run's, the phases see to it."""
        every: Optional[int] = self.monitoring.evaluate_every
        due = every is not None and self.progress.step % every == 0
        return due and not self.feed.exhausted and not self._made_all_steps
