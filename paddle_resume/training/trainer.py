"""The trainer: what a user builds, calls and overrides. The order of things is in `loop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle

from paddle_resume.checkpoint.checkpointer import Checkpointer, Restored
from paddle_resume.checkpoint.phases import DONE, TRAIN
from paddle_resume.data.batch import Batch
from paddle_resume.data.feed import Feed
from paddle_resume.environment import Environment
from paddle_resume.errors import SaveError, StateError
from paddle_resume.loggers import Logger
from paddle_resume.loggers.logbook import Logbook
from paddle_resume.lr.stepper import STEP, LRStepper
from paddle_resume.metrics import RunningMetrics
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.parallel.batch_norm import per_process_statistics
from paddle_resume.parallel.mesh import DeviceMesh
from paddle_resume.parallel.world import World, compare
from paddle_resume.rng import RandomStreams, preserved
from paddle_resume.stateful import Owners, Stateful
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.best import Best
from paddle_resume.training.callbacks import Callback, Hooks, stateful
from paddle_resume.training.divergence import SKIP, STOP, Divergence
from paddle_resume.training.ema import AverageProgress, WeightAverage
from paddle_resume.training.evaluation_mode import training_undisturbed
from paddle_resume.training.interrupt import Interruption, SignalWatch
from paddle_resume.training.loop import Loop, Optimizers
from paddle_resume.training.optimizer_step import Update, parameters_of
from paddle_resume.training.precision import Precision, readable_output
from paddle_resume.training.progress import Progress
from paddle_resume.training.save_schedule import SaveSchedule
from paddle_resume.training.saver import Saver


class Trainer(Loop):
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
        world: the processes that train together; None: those that `python -m paddle.distributed.launch` started.
        mesh: on which `model` and `optimizer` are spread over the processes; None: each process has all of both, and
            they share the batches.
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
        world: Optional[World] = None,
        mesh: Optional[DeviceMesh] = None,
    ) -> None:
        self.world = world or World.current()
        self.mesh = mesh
        # On a mesh all processes work on whole batches, as a single one would.
        self._sharers = World() if mesh else self.world
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.precision = precision or Precision()
        self.precision.prepare(model, self._optimizers())
        self.ema = ema
        self.best = best
        self.divergence = on_nan if isinstance(on_nan, Divergence) else Divergence(on_nan)
        self.checkpointer = Checkpointer(
            save_dir, name, keep=keep, keep_epochs=keep_epochs, background=background, world=self.world
        )
        self.progress = Progress()
        self.metrics = RunningMetrics(metrics, world=self._sharers)
        self.random = RandomStreams(seed, rank=mesh.data_rank if mesh else self.world.rank)
        self.environment = Environment()
        self.feed: Optional[Feed] = None
        self.epochs = 0
        self.max_steps: Optional[int] = None
        self.restored: Optional[Restored] = None
        self._evaluation: dict[str, Feed] = {}
        self._pictures: dict[str, dict[str, np.ndarray]] = {}
        self._logbook = Logbook(logger, silent=not self.world.is_main)
        self._hooks = Hooks(callbacks)
        self._seed = seed
        self._saver = Saver(
            self.checkpointer,
            schedule or SaveSchedule(),
            landed=lambda prefix: self._call("on_save", prefix),
            tell=self.tell,
            world=self.world,
        )
        self._from_first = [] if self._sharers.is_single else per_process_statistics(model)
        self._log_every = log_every
        self._evaluate_every = evaluate_every
        self._rates = LRStepper(self._optimizers(), lr_interval, lr_metric)
        self._evaluate_ema = evaluate_ema
        self._update = self._build_update(accumulate_steps)
        self._model_path = Path(model_path) if model_path is not None else None
        # Reading a loss waits for a GPU, but costs nothing on the CPU.
        self._check_each_loss = paddle.device.get_device() == "cpu"
        self._signals = SignalWatch()
        self._heart = Heartbeat(None)
        self._owners = Owners(environment=self.environment, **self._model_owners())
        self._owners.add("metrics", self.metrics)
        self._owners.add("progress", self.progress)
        self._owners.add("precision", self.precision)
        self._owners.add("update", self._update)
        self._owners.add("rates", self._rates)
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
        global_batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        resume: str = "auto",
        allow_inexact: bool = False,
        overwrite: bool = False,
    ) -> dict[str, float]:
        """Train until `epochs` or `max_steps` is reached, from wherever the run stands; returns the last metrics.

        Data are datasets or `paddle.io.DataLoader`s. A batch has `global_batch_size` samples over all processes
        together (so has one of a DataLoader's), of which each process takes its share. `resume` is `auto` (continue
        this run if it has a checkpoint), a checkpoint's prefix, or `none`. The run evaluates on `valid_data` after
        each epoch and on `test_data` at its end. Raises CheckpointError, InexactResumeError, NonFiniteLossError,
        ParallelError, and SaveError if the last save failed; Ctrl-C and SIGTERM save, then end the process as usual.
        """
        with self.world.together():
            options = {"seed": self._seed, "batch_size": global_batch_size, "num_workers": num_workers, **self._place()}
            self.feed = Feed.of(train_data, shuffle=shuffle, drop_last=drop_last, **options)
            given = {"valid": valid_data, "test": test_data}
            self._evaluation = {
                split: Feed.of(data, shuffle=False, **options) for split, data in given.items() if data is not None
            }
            self.epochs, self.max_steps = epochs, max_steps
            self._start_together(allow_inexact)
            for note in (self.feed.note, self.precision.note, self._update.note(self.model)):
                if note:
                    self.tell(note)
            return self._train(resume, allow_inexact, overwrite)

    def _train(self, resume: str, allow_inexact: bool, overwrite: bool) -> dict[str, float]:
        self._heart = Heartbeat.from_environment(self.world.rank)
        self._heart.beat(self.progress.step, "start")
        with self._signals:
            try:
                self.resume(resume, allow_inexact=allow_inexact, overwrite=overwrite)
                with preserved():  # It runs at every start, so what it draws must not count.
                    self._call("on_train_begin")
                self._run()
                self._saver.collect(self.progress.step, wait=True)
                # Nobody ends, and lets the launcher end the others, before all has been saved.
                failed = self.world.broadcast_object(self._saver.failed)
            except Interruption:
                if self.world.broadcast_object(not self._saver.has_saved(self.progress.step, self.progress.phase)):
                    self._save()
                self._saver.collect(self.progress.step, wait=True)
                saved = "" if self._saver.failed is None else " That step could not be saved."
                self.tell(f"Stopped after step {self.progress.step}.{saved} Run the same command again to continue.")
                self.world.agree()
                self._signals.leave()
            finally:
                self._call("on_train_end")
                self._logbook.close()
                try:
                    self.checkpointer.close()
                except SaveError as error:  # Of tidying up after the last save, which itself was collected before.
                    self.tell(str(error))
        if failed is not None:
            raise failed
        return self.progress.results

    def _place(self) -> dict[str, int]:
        return {"rank": self._sharers.rank, "size": self._sharers.size}

    def _start_together(self, allow_inexact: bool) -> None:
        """Have all processes begin with the same weights, the same data and config, and randomness of their own."""
        assert self.feed is not None
        self._update.most = -(-self.feed.batch_size // self._sharers.size)
        if self.world.is_single:
            return
        if not allow_inexact:
            owners = self._all_owners()
            compared = {name: o for name, o in owners.items() if hasattr(o, "differences") and name != "rng"}
            compare(self.world, compared)
        if self.mesh is None:
            self.world.broadcast(list(self.model.state_dict().values()))
        self.random.start_rank()

    def resume(self, resume: str = "auto", *, allow_inexact: bool = False, overwrite: bool = False) -> None:
        """Bring every owner back to the checkpoint that `resume` means, or make ready for a fresh start."""
        self.restored = None
        if resume == "none":
            removed = self.checkpointer.start_over(overwrite)
            if removed:
                self.tell(f"Starting over: removed {removed} checkpoints of the run before.")
        else:
            self.restored = self.checkpointer.restore(self._all_owners(), resume, allow_inexact=allow_inexact)
        if self.restored is None:
            self._logbook.start_over()
            return
        for line in self.restored.passed_over:
            self.tell(f"Passed over {line}.")
        if self.progress.phase == DONE and not self._reached_the_end():
            self.progress.phase = TRAIN  # The run was finished, and is now wanted longer.

    def compute_loss(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        """(mean loss, output) of a batch `[*inputs, label]`; override it for another loss."""
        *inputs, label = batch
        if self.loss is None:
            raise StateError("Without a loss, Trainer.compute_loss or Trainer.train_step has to be overridden.")
        output = readable_output(self.model(*inputs))
        return self.loss(output, label), output

    def train_step(self, batch: Batch) -> Any:
        """One optimizer update on a batch `[*inputs, label]`; returns the loss, or (loss, output) for metrics.

        Override it for several networks. The scheduler's step and the metrics are left to the trainer. With several
        processes call `average_gradients(optimizer, batch)` between `backward()` and each `optimizer.step()`.
        """
        made = self._update.make([Batch.of(batch)])
        self._averaged_at = self.progress.step
        outputs = [one.output for one in made.passed]
        return made.loss, outputs[0] if len(outputs) == 1 else paddle.concat(outputs)

    def average_gradients(self, optimizer: paddle.optimizer.Optimizer, batch: Batch) -> None:
        """Give the optimizer's parameters the gradients of the whole `batch`, of all processes' shares of it.

        For an overridden `train_step`, between `backward()` and `optimizer.step()`. In a single process it does
        nothing.
        """
        if self._sharers.is_single:
            return
        self.world.average_gradients(parameters_of(optimizer), batch.samples * self.world.size / batch.whole)
        self._averaged_at = self.progress.step

    def evaluate_step(self, batch: Batch) -> Any:
        """Loss and output of a batch `[*inputs, label]`, without gradients."""
        return self.compute_loss(batch)

    def evaluate(self, data: Any, split: str = "valid", **options: Any) -> dict[str, float]:
        """Loss and metrics over all of `data`; moves no generator and nothing else that training depends on."""
        feed = Feed.of(data, **{"seed": self._seed, "shuffle": False, **self._place(), **options})
        metrics = self.metrics.fresh(split)
        self._call("on_evaluate_begin", split)
        with training_undisturbed(self.model), self._weights_to_evaluate(), self.precision.autocast():
            for batch in feed.round_robin():
                agreed = self.world.agree(signum=self._signals.signum)
                if batch is None:
                    metrics.add_nothing()
                else:
                    loss, output = map(self._whole, self.evaluate_step(self._everywhere(batch)))
                    metrics.update(self.progress.step, loss, output, batch[-1], len(batch[0]))
                self._heart.beat(self.progress.step, "evaluate")
                self._signals.check(self.world, agreed.signum)
                self._call("on_evaluate_step")
        metrics.gather()
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

    def _build_update(self, accumulate_steps: int) -> Update:
        self._step_is_overridden = type(self).train_step is not Trainer.train_step
        if self._step_is_overridden and (accumulate_steps > 1 or self.divergence.policy == SKIP):
            raise StateError(
                f"{type(self).__name__}.train_step makes its updates itself, so accumulate_steps and on_nan='skip' "
                "cannot work with it; override compute_loss instead, or leave them out."
            )
        if self._step_is_overridden and self.mesh is not None:
            raise StateError(
                f"{type(self).__name__}.train_step would have to spread its batches over the mesh itself; override "
                "compute_loss instead."
            )
        return Update(
            self._forward,
            self._optimizers(),
            self.precision,
            accumulate_steps=accumulate_steps,
            skip_non_finite=self.divergence.policy == SKIP,
            world=self._sharers,
            whole=self._whole,
        )

    def _model_owners(self) -> dict[str, Stateful]:
        if self.mesh is None:
            return paddle_owners(self.model, self._optimizers())
        from paddle_resume.checkpoint.sharded_owners import sharded_owners

        return sharded_owners(self.model, self.optimizer, self.mesh, self.checkpointer, self.world)

    def _forward(self, batch: Batch) -> tuple[paddle.Tensor, Any]:
        if self.mesh is not None:
            batch = Batch([self.mesh.shard_batch(entry) for entry in batch], batch.samples, batch.whole)
        return self.compute_loss(batch)

    def _everywhere(self, batch: list) -> Batch:
        return Batch.of(batch if self.mesh is None else [self.mesh.replicate(entry) for entry in batch])

    def _whole(self, result: Any) -> Any:
        return result if self.mesh is None else self.mesh.unshard(result)

    def _weights_to_evaluate(self) -> AbstractContextManager[None]:
        return self.ema.in_place() if self.ema is not None and self._evaluate_ema else nullcontext()
