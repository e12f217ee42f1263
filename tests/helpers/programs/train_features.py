"""A training program for the proofs of what a run may carry beyond the plain loop; data as in train_digits."""

import argparse

import numpy as np
from train_digits import Augmented, FlushedLogs, digits

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Monitoring, StepOptions, Trainer, models
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.training.best import Best
from paddle_resume.training.divergence import Divergence
from paddle_resume.training.ema import WeightAverage
from paddle_resume.training.save_schedule import SaveSchedule


class OneBadSample(Augmented):
    """Digits of which one is NaN, as a broken sensor gives it."""

    def __getitem__(self, index):
        image, label = self.arrays[index]
        return (np.full_like(image, np.nan) if index == 17 else image), label


def rate(name):
    schedules = paddle.optimizer.lr
    if name == "plateau":
        return schedules.ReduceOnPlateau(0.05, factor=0.5, patience=0, threshold=0.2)
    if name == "explosion":
        # Far too much from step 6 on, so that the weights overflow within a step or two.
        return schedules.PiecewiseDecay([6], [0.05, 1e30])
    if name == "epochs":
        return schedules.ExponentialDecay(0.05, 0.5)
    return schedules.PolynomialDecay(0.05, decay_steps=16, end_lr=0.001)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", default="polynomial")
    parser.add_argument("--interval", default="step")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--evaluate-every", type=int)
    parser.add_argument("--every-steps", type=int, default=3)
    parser.add_argument("--ema", type=float)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--patience", type=int)
    parser.add_argument("--final", default="last")
    parser.add_argument("--on-nan", default="stop")
    parser.add_argument("--amp")
    parser.add_argument("--bad-sample", action="store_true")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)

    paddle_resume.seed_everything(7)
    train, valid = digits()
    if options.bad_sample:
        train = OneBadSample(train)
    model = models.MLP(hidden=32, dropout=0.2)
    loggers = [VisualDLLogger("log", "digits"), JsonlLogger("log")]
    best = Best("valid/loss", mode=options.mode, patience=options.patience, final=options.final, min_delta=0.01)
    trainer = Trainer(
        model,
        paddle.optimizer.Momentum(rate(options.rate), parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy()],
        save_dir="checkpoint",
        name="digits",
        logger=loggers,
        callbacks=[FlushedLogs(loggers)],
        seed=7,
        schedule=SaveSchedule(every_steps=options.every_steps, background=not options.inline),
        monitoring=Monitoring(
            log_every=2,
            evaluate_every=options.evaluate_every,
            ema=WeightAverage(options.ema) if options.ema is not None else None,
            best=best if options.best or options.patience is not None else None,
        ),
        step=StepOptions(
            accumulate_steps=options.accumulate,
            lr_interval=options.interval,
            precision=paddle_resume.Precision(options.amp),
            on_nan=Divergence(options.on_nan, lr_factor=1e-30),
        ),
        model_path="digits.pdparams",
    )
    trainer.train(train, valid, valid, epochs=options.epochs, global_batch_size=16 if options.accumulate > 1 else 32)
    return trainer


if __name__ == "__main__":
    main()
