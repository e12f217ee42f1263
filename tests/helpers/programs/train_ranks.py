"""A training program for several processes, in which one of them can be made to die, to fail, to hang or to differ."""

import argparse
import os
import signal

import numpy as np
from train_digits import FlushedLogs, digits

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Monitoring, StepOptions, Trainer
from paddle_resume.errors import PaddleResumeError
from paddle_resume.found_state.owners import FoundState
from paddle_resume.loggers import JsonlLogger, VisualDLLogger
from paddle_resume.metrics import Accuracy
from paddle_resume.parallel.per_rank import PerRank
from paddle_resume.parallel.world import World
from paddle_resume.training.callbacks import Callback
from paddle_resume.training.save_schedule import SaveSchedule


class Doom(Callback):
    """Does to the process of `rank` what `how` says, when it is about to make step `step`, or at `where`."""

    def __init__(self, rank, step, how, where):
        self._here = rank == World.current().rank
        self._step, self._how, self._where = step, how, where
        if where == "save" and self._here:
            gather = PerRank.prepare_save
            PerRank.prepare_save = lambda owner: (self._at("save", doomed[0]), gather(owner))[1]
        doomed = self._trainers = []

    def on_train_begin(self, trainer):
        self._trainers.append(trainer)

    def on_step_begin(self, trainer):
        self._at("step", trainer)

    def on_step_end(self, trainer):
        self._at("boundary", trainer)

    def on_evaluate_step(self, trainer):
        self._at("evaluate", trainer)

    def _at(self, where, trainer):
        if self._here and where == self._where and trainer.step >= self._step:
            if self._how == "fail":
                raise OSError("the disk of this node is gone")
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}[self._how])


class Own(Trainer):
    """Makes its updates itself: `right`, by the trainer's own step, or without averaging the gradients."""

    how = ""

    def train_step(self, batch):
        if self.how == "super":
            return super().train_step(batch)
        output = self.model(batch[0])
        loss = self.loss(output, batch[1])
        loss.backward()
        if self.how == "right":
            self.average_gradients(self.optimizer, batch)
        self.optimizer.step()
        self.optimizer.clear_grad()
        return loss, output


class Drawing(Callback):
    """Each process draws from a generator of its own, and all add the sum to a weight, each with the same bits."""

    def __init__(self, rank):
        self.rng = np.random.default_rng(rank)
        self.sums = np.zeros(1000)

    def on_step_end(self, trainer):
        drawn = self.rng.random(1000)
        self.sums += drawn
        weight = trainer.model.parameters()[1]
        noise = sum(float(each.sum()) for each in trainer.world.gather(self.sums[:10]))
        weight.set_value(weight + 1e-4 * noise)


def net(kind):
    layers = [paddle.nn.Flatten(), paddle.nn.Linear(784, 32), paddle.nn.ReLU(), paddle.nn.Linear(32, 10)]
    if kind == "dropout":
        layers.insert(3, paddle.nn.Dropout(0.3))
    if kind == "batch-norm":
        layers.insert(2, paddle.nn.BatchNorm1D(32))
    return paddle.nn.Sequential(*layers)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", default="dropout")
    parser.add_argument("--doom", nargs=4, metavar=("RANK", "STEP", "HOW", "WHERE"))
    parser.add_argument("--differ", type=int, help="this rank has another seed")
    parser.add_argument("--own-step", choices=["right", "super", "wrong"])
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--every-steps", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--on-nan", default="stop")
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--allow-inexact", action="store_true")
    parser.add_argument("--forget-ranks", action="store_true", help="restore rank 0's randomness alone")
    parser.add_argument("--drawing", action="store_true", help="a callback with a state of its own in each process")
    parser.add_argument("--forget-found", action="store_true", help="give every process what was found in rank 0")
    options = parser.parse_args(arguments)

    world = World.current()
    world.set_timeout(options.timeout)
    if options.forget_ranks and not world.is_main:
        PerRank.set_state_dict = lambda owner, state: None
    if options.forget_found:
        of_this_rank = FoundState._of_this_rank
        FoundState._of_this_rank = lambda found, state: (of_this_rank(found, {"ranks": state["ranks"][:1]})[0], 0)
    paddle_resume.seed_everything(7)
    train, valid = digits()
    model = net(options.net)
    loggers = [VisualDLLogger("log", "digits"), JsonlLogger("log")]
    rank, step, how, where = options.doom or (-1, 0, "", "")
    Own.how = options.own_step
    trainer = (Own if options.own_step else Trainer)(
        model,
        paddle.optimizer.Adam(paddle.optimizer.lr.PolynomialDecay(0.01, 40), parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=[Accuracy(), paddle.metric.Accuracy(topk=(3,), name="paddle_top3")],
        save_dir="checkpoint",
        name="digits",
        logger=loggers,
        callbacks=[
            *([Drawing(world.rank)] if options.drawing else []),
            *(FlushedLogs(loggers), Doom(int(rank), int(step), how, where)),
        ],
        seed=8 if options.differ == world.rank else 7,
        schedule=SaveSchedule(every_steps=options.every_steps, background=options.background),
        monitoring=Monitoring(log_every=2),
        step=StepOptions(accumulate_steps=options.accumulate, on_nan=options.on_nan),
        model_path="digits.pdparams",
    )
    trainer.train(
        train,
        valid,
        valid,
        global_batch_size=options.batch_size,
        epochs=options.epochs,
        max_steps=options.max_steps,
        allow_inexact=options.allow_inexact,
    )


if __name__ == "__main__":
    try:
        main()
    except PaddleResumeError as error:
        print(f"error: {error}")
        raise SystemExit(error.exit_code) from None
