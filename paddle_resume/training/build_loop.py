"""Puts the loop of a run together from its parts and the data it trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_resume.checkpoint.catalog import BEST
from paddle_resume.data.feed import Feed
from paddle_resume.parallel.batch_norm import per_process_statistics
from paddle_resume.supervision.heartbeat import Heartbeat
from paddle_resume.training.ending import Ending
from paddle_resume.training.finished_model import FinishedModel
from paddle_resume.training.loop import TrainingLoop
from paddle_resume.training.parts import RunParts
from paddle_resume.training.run_length import RunLength
from paddle_resume.training.run_log import RunLog
from paddle_resume.training.run_saver import RunSaver
from paddle_resume.training.step_runner import StepRunner


def build_loop(
    parts: RunParts, feed: Feed, evaluation: Mapping[str, Feed], length: RunLength, heart: Heartbeat
) -> TrainingLoop:
    """The loop that trains on these data."""
    parts.evaluator.heart, parts.divergence.where = heart, length.where
    trainer, monitoring = parts.trainer, parts.monitoring
    saver = _run_saver(parts, feed, evaluation, heart)
    weights: Any = parts.owners.get("ema" if monitoring.ema is not None and monitoring.ema.evaluate else "model")
    return TrainingLoop(
        model=trainer.model,
        progress=parts.progress,
        length=length,
        feed=feed,
        evaluation=evaluation,
        random=parts.random,
        steps=StepRunner(trainer.train_step, parts.gradients, parts.log),
        lr=parts.lr,
        learning_rate=lambda: trainer.learning_rate,
        as_now=parts.as_now,
        metrics=parts.metrics,
        divergence=parts.divergence,
        monitoring=monitoring,
        evaluator=parts.evaluator,
        log=RunLog(parts.logbook, parts.progress, parts.metrics, parts.divergence, parts.hooks.call),
        saver=saver,
        made_again=parts.made_again,
        finished=FinishedModel(
            parts.model_path,
            trainer.model,
            weights,
            best=monitoring.best,
            best_prefix=parts.engine.prefix(BEST),
            settle=lambda: saver.collect(wait=True),
            world=parts.world,
            mesh=parts.mesh,
            progress=parts.progress,
        ),
        ending=Ending(
            parts.progress,
            lambda: parts.moved_by_evaluation(feed, evaluation),
            parts.logbook,
            parts.found.before_end.watch,
        ),
        hooks=parts.hooks,
        world=parts.world,
        agreement=parts.agreement,
        data_parallel=parts.data_parallel,
        statistics=[] if parts.data_parallel.is_single or parts.elastic else per_process_statistics(trainer.model),
        signals=parts.signals,
        heart=heart,
        tell=parts.tell,
        step_error=parts.step_error,
    )


def _run_saver(parts: RunParts, feed: Feed, evaluation: Mapping[str, Feed], heart: Heartbeat) -> RunSaver:
    """What saves the run with its position in these data."""
    return RunSaver(
        parts.saver,
        parts.engine,
        lambda: parts.all_owners(feed, evaluation),
        model=parts.trainer.model,
        feed=feed,
        progress=parts.progress,
        metrics=parts.metrics,
        divergence=parts.divergence,
        heart=heart,
        made_again=parts.made_again,
        tell=parts.tell,
    )
