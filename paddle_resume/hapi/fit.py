"""One call of `paddle.Model.fit` under control: brought to where the run stands, saved as it goes, and let go again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Optional

import paddle

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.phases import DONE, EVALUATE, TRAIN
from paddle_resume.checkpoint.restored import Restored
from paddle_resume.checkpoint.resume_errors import Refusal, explain_to_program
from paddle_resume.command_line import run_again
from paddle_resume.data.feed import Feed
from paddle_resume.errors import PaddleResumeError, SaveError
from paddle_resume.found_state.owners import FoundState
from paddle_resume.hapi.curves import OF_A_LOG, Curves
from paddle_resume.hapi.fit_data import EvaluationBatches, RemainingBatches, evaluation_feed, training_feed
from paddle_resume.hapi.fit_owners import fit_owners
from paddle_resume.hapi.fit_position import Position
from paddle_resume.hapi.takeover import require_supported, taken_over
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.stateful import Owners
from paddle_resume.training.interrupt import Interruption, SignalWatch
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.saver import Saver
from paddle_resume.translations import shown
from paddle_resume.user_terms import in_user_terms


class ResumableFit:
    """Stands between `fit` and its callbacks, and between `fit` and its data.

    `fit` always counts its epochs from 0 and its batches from 0, and has no way in. So all that it calls is taken
    over: the list of callbacks, where every event passes through `_event`, and `Model._run_one_epoch`, which gets
    the loader. While `fit` is `behind` the restored position nothing is passed on, so that the epochs that were made
    before take no time and leave no trace; from there on events and batches pass, renumbered.
    """

    def __init__(
        self,
        model: Any,
        callback_list: Any,
        own: Any,
        checkpointer: CheckpointEngine,
        *,
        seed: int,
        schedule: SaveSchedule,
    ) -> None:
        require_supported(model)
        self.restored: Optional[Restored] = None
        self._model = model
        self._list = callback_list
        self._callbacks = [callback for callback in callback_list.callbacks if callback is not own]
        self._checkpointer = checkpointer
        self._seed = seed
        self._random = RandomStreams(seed)
        self._signals = SignalWatch()
        self._saver = Saver(checkpointer, schedule, landed=lambda prefix: None, tell=_tell)
        self._position = Position(model, self._begin_epoch_again)
        self._owners = Owners()
        self._feed: Optional[Feed] = None
        self._evaluation: dict[str, Feed] = {}
        self._curves = Curves(self._callbacks, checkpointer.name)
        self._logbook = Logbook(self._curves.loggers, tell=_tell, advice=OF_A_LOG)
        self._epoch = 0
        """The epoch that `fit` believes to be in."""
        self._offset = 0
        """Batches of the current epoch that an earlier process has made."""
        self._has_updated = False
        self._is_behind = False
        self._options: dict[str, Any] = {}
        self._undo = ExitStack()

    def take_over(self, **options: Any) -> None:
        """Stand in between from now on; with the first batch the run is restored by these options of `ExactResume`."""
        self._options = options
        self._run_epoch = self._model._run_one_epoch
        self._undo.enter_context(self._signals)
        self._undo.callback(self._close_files)
        self._undo.enter_context(taken_over(self._model, self._list, self.event, self._run_one_epoch))
        self._undo.enter_context(self._curves.written_here())

    def event(self, name: str, *args: Any) -> None:
        """An event that `fit` reports, such as `on_epoch_end`."""
        with self._letting_go():
            getattr(self, f"_{name}", partial(self._pass_on, name))(*args)

    def _pass_on(self, name: str, *args: Any) -> None:
        if not self._is_behind:
            for callback in self._callbacks:
                getattr(callback, name)(*args)

    def _on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        if self._feed is None:
            return  # Not known yet is whether this epoch is the one: the first batch will tell.
        if self._is_behind and epoch == self._position.epoch and not self._position.has_begun:
            self._is_behind = False
            self._position.phase = TRAIN  # It was done, perhaps, and is now wanted longer.
        if not self._is_behind:
            self._end_evaluation()
        self._pass_on("on_epoch_begin", epoch, logs)

    def _on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        position = self._position
        if self._is_behind:
            if epoch == position.last_epoch:
                position.ask_to_stop()
                self._is_behind = position.phase != EVALUATE
            return
        self._pass_on("on_epoch_end", epoch, logs)
        if self._model._test_dataloader is None:
            self._finish_epoch()
        else:
            position.phase = EVALUATE
        self._save_epoch(epoch)

    def _on_eval_batch_end(self, step: int, logs: Any = None) -> None:
        self._pass_on("on_eval_batch_end", step, logs)
        # It is repeated from its start, for which there must be a checkpoint; else it is seen to its end.
        if self._saver.has_saved(self._position.step, EVALUATE):
            self._signals.check()

    def _on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        self._random.begin_step(self._position.batches)
        self._pass_on("on_train_batch_begin", step + self._offset, logs)

    def _on_train_batch_end(self, step: int, logs: Any = None) -> None:
        self._position.logs["step"] = step + self._offset
        self._pass_on("on_train_batch_end", step + self._offset, logs)
        assert self._feed is not None
        self._has_updated = self._position.made_batch(self._feed.exhausted)

    def _on_train_end(self, logs: Any = None) -> None:
        position = self._position
        if self._is_behind and (position.phase == DONE or self._epoch < position.last_epoch or position.has_begun):
            _tell(f"This run has made {position.step} steps: nothing is left to do.")
        else:
            if position.phase == EVALUATE:
                self._finish_epoch()
            position.phase = DONE
            self._save(self._tag_of(position.last_epoch), position.last_epoch)
        self._is_behind = False
        self._pass_on("on_train_end", logs)
        self._saver.collect(position.step, wait=True)
        self._undo.close()
        if self._saver.failed is not None:
            raise self._saver.failed

    def _run_one_epoch(self, loader: Any, callbacks: Any, mode: str, *rest: Any) -> Any:
        if callbacks is not self._list:  # A callback evaluates or predicts by itself.
            with preserved():
                return self._run_epoch(loader, callbacks, mode, *rest)
        with self._letting_go():
            return self._train(loader) if mode == "train" else self._evaluate(loader)

    def _train(self, loader: Any) -> dict[str, Any]:
        position = self._position
        if self._feed is None:
            self._start(loader)
        if self._is_behind:
            if position.phase != TRAIN or not position.has_begun or self._epoch != position.epoch:
                return position.logs
            position.ask_to_stop()
            self._is_behind = False
        assert self._feed is not None
        self._offset = position.batch
        batches = RemainingBatches(self._feed, position.batch, self._after_batch)
        return self._run_epoch(batches, self._list, "train", position.logs)

    def _evaluate(self, loader: Any) -> dict[str, Any]:
        if self._is_behind:
            return self._position.logs
        feed = self._evaluation.get("valid")
        with preserved():
            batches = loader if feed is None else EvaluationBatches(feed)
            return self._run_epoch(batches, self._list, "eval", self._position.logs)

    def _start(self, loader: Any) -> None:
        """With the data at last known: restore, or make ready for a run from the beginning."""
        self._feed = training_feed(loader, self._seed)
        if self._feed.note:
            _tell(self._feed.note)
        evaluation = self._model._test_dataloader
        valid = evaluation_feed(evaluation, self._seed) if evaluation is not None else None
        self._evaluation = {"valid": valid} if valid is not None else {}
        self._model._reset_metrics()  # What an earlier fit that was cut short has left in them must not count.
        feeds = {"train": self._feed, **self._evaluation}
        logs = self._curves.loggers
        self._owners = fit_owners(self._model, self._position, self._callbacks, logs, feeds, self._random)
        run = self._checkpointer.folder / self._checkpointer.name
        self._logbook.claim(run, make=False)
        self._restore(**self._options)
        self._logbook.make_ready(self.restored is not None)
        self._logbook.claim(run, make=True)
        if self.restored is None:
            self._logbook.start_over()
            # What the weights start from need not be seeded: from here on it is on disk.
            self._save("step0", 0)
            self._pass_on("on_epoch_begin", 0, None)

    def _restore(self, resume: str, allow_inexact: bool, overwrite: bool) -> None:
        if resume == "none":
            removed = self._checkpointer.start_over(overwrite)
            if removed:
                _tell(f"Starting over: removed {removed} checkpoints of the run before.")
            return
        self.restored = self._checkpointer.restore(self._owners, resume, allow_inexact=allow_inexact, explain=_explain)
        if self.restored is None:
            return
        for line in self.restored.passed_over:
            _tell(f"Passed over {line}.")
        found = self._owners["found"]
        if isinstance(found, FoundState) and found.note:
            _tell(found.note)
        position = self._position
        _tell(f"Resumed from {self.restored.source}: epoch {position.epoch}, step {position.step}.")
        self._is_behind = position.epoch > 0 or position.has_begun
        if not self._is_behind:
            self._pass_on("on_epoch_begin", 0, None)

    def _begin_epoch_again(self, epoch: int) -> None:
        """Let callbacks make ready for an epoch that is under way; it is called before any state is restored."""
        for callback in self._callbacks:
            callback.on_epoch_begin(epoch)
            if isinstance(callback, paddle.callbacks.ProgBarLogger):
                callback.train_step = self._position.batch

    def _after_batch(self) -> None:
        """A batch is trained on, and `fit` and its callbacks are through with it: the boundary between two steps."""
        if not self._has_updated:
            return  # Gradients are being accumulated, and they are in no checkpoint.
        position = self._position
        self._saver.make_ready(lambda: self._owners)
        self._saver.collect(position.step)
        if self._signals.signum is not None or self._saver.is_due(position.step):
            self._save(f"step{position.step}", position.epoch)
        elif self._saver.memory_is_due(position.step):
            self._saver.keep_in_memory(self._owners, step=position.step, epoch=position.epoch, phase=position.phase)
        self._signals.check()

    def _end_evaluation(self) -> None:
        """An evaluation, if there was one, is over when `fit` goes on."""
        if self._position.phase == EVALUATE:
            epoch = self._position.epoch
            self._finish_epoch()
            self._save_epoch(epoch)

    def _finish_epoch(self) -> None:
        assert self._feed is not None
        self._position.finish_epoch()
        self._feed.finish_epoch()

    def _save_epoch(self, epoch: int) -> None:
        """Save after an epoch's training or evaluation if that is due, or if a signal came."""
        due = self._saver.schedule.epoch_is_due(epoch)
        if due or self._signals.signum is not None:
            self._save(self._tag_of(epoch), epoch)
        self._signals.check()

    def _save(self, tag: str, epoch: int) -> None:
        position = self._position
        self._saver.begin(self._owners, step=position.step, tag=tag, epoch=epoch, phase=position.phase)

    def _tag_of(self, epoch: int) -> str:
        return f"epoch{epoch}" if self._saver.schedule.epoch_is_due(epoch) else f"step{self._position.step}"

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """Whatever ends `fit` early, leave the model and its callbacks as they were found, and the run to others."""
        try:
            yield
        except Interruption:
            self._saver.collect(self._position.step, wait=True)
            signum = self._signals.signum
            self._undo.close()
            saved = "" if self._saver.failed is None else " That step could not be saved."
            _tell(f"Stopped after step {self._position.step}.{saved} {run_again()}")
            self._signals.signum = signum
            self._signals.leave()
        except BaseException as error:
            self._undo.close()
            if isinstance(error, PaddleResumeError):
                error.args = (in_user_terms(str(error), of_fit=True),)
            raise

    def _close_files(self) -> None:
        for files in (self._logbook, self._checkpointer):
            try:
                files.close()
            except SaveError as error:  # The last save itself was collected before, or there is another error.
                _tell(str(error))


def _explain(refusal: Refusal) -> str:
    return explain_to_program(refusal, "ExactResume(allow_inexact=True)")


def _tell(text: str) -> None:
    print(shown(in_user_terms(text, of_fit=True)), file=sys.stderr)
