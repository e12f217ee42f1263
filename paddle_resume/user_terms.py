"""In whose terms a message speaks: those of a config and its command, or those of Python.

Messages are written in the terms of the config (`data.num_workers`, `--allow-inexact`), wherever they come from. Where
a run was begun from Python, they leave by `in_user_terms`: what a person reads names what this person wrote. It keeps
the message as it was written, since it is this that translations are of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_command = ContextVar("whether a command speaks", default=False)


@contextmanager
def command_terms() -> Iterator[None]:
    """Inside, a run belongs to a config and its command."""
    before = _command.set(True)
    try:
        yield
    finally:
        _command.reset(before)


def speaks_command() -> bool:
    """Whether the config's keys and the command's flags are what the user wrote."""
    return _command.get()


# Each key of a config, and what sets the same in Python; those that are not here have no argument of their own.
ARGUMENTS = {
    "run.name": "Trainer(name=)",
    "run.seed": "Trainer(seed=)",
    "run.save_dir": "Trainer(save_dir=)",
    "run.log_dir": "Trainer(log_dir=)",
    "run.model_path": "Trainer(model_path=)",
    "data.global_batch_size": "Trainer.train(global_batch_size=)",
    "data.num_workers": "Trainer.train(num_workers=)",
    "data.drop_last": "Trainer.train(drop_last=)",
    "data.shuffle": "Trainer.train(shuffle=)",
    "trainer.epochs": "Trainer.train(epochs=)",
    "trainer.max_steps": "Trainer.train(max_steps=)",
    "trainer.limit_batches": "Trainer.train(limit_batches=)",
    "trainer.log_every": "Monitoring(log_every=)",
    "trainer.evaluate_every": "Monitoring(evaluate_every=)",
    "trainer.check_resume": "Monitoring(check_resume=)",
    "trainer.accumulate_steps": "StepOptions(accumulate_steps=)",
    "trainer.amp": "Precision(level=)",
    "trainer.amp.level": "Precision(level=)",
    "trainer.amp_dtype": "Precision(dtype=)",
    "trainer.ema": "Monitoring(ema=)",
    "trainer.ema.decay": "WeightAverage(decay=)",
    "trainer.ema.warmup": "WeightAverage(warmup=)",
    "trainer.ema.evaluate": "WeightAverage(evaluate=)",
    "trainer.on_nan": "StepOptions(on_nan=)",
    "trainer.rollback_lr": "Divergence(lr_factor=)",
    "trainer.max_rollbacks": "Divergence(max_rollbacks=)",
    "best.monitor": "Best(monitor=)",
    "best.mode": "Best(mode=)",
    "best.min_delta": "Best(min_delta=)",
    "best.patience": "Best(patience=)",
    "best.final": "Best(final=)",
    "checkpoint.every_epochs": "SaveSchedule(every_epochs=)",
    "checkpoint.every_steps": "SaveSchedule(every_steps=)",
    "checkpoint.every_minutes": "SaveSchedule(every_minutes=)",
    "checkpoint.keep": "SaveSchedule(keep=)",
    "checkpoint.keep_epochs": "SaveSchedule(keep_epochs=)",
    "checkpoint.on_busy": "SaveSchedule(on_busy=)",
    "checkpoint.budget": "SaveSchedule(budget=)",
    "checkpoint.background": "SaveSchedule(background=)",
    "checkpoint.on_error": "SaveSchedule(on_error=)",
    "checkpoint.memory": "SaveSchedule(memory=)",
    "parallel.elastic": "Processes(elastic=)",
    "parallel.exchange": "Processes(exchange=)",
}
_WORDS = {"null": "None", "true": "True", "false": "False"}
# A value that is written after a key; any other word after a colon belongs to the sentence.
_VALUE = (
    r"-?\d[\d.]*(?<!\.)|null|true|false|auto|wait|skip|stop|continue|ignore|rollback|O1|O2|float16|bfloat16|best|last"
    r"|pairs|halving|server"
)
# By ASCII's letters: what stands around a key may be Chinese, without a space between.
_KEY = re.compile(
    rf"(?<![\w/.\"'])(?<!\w\()({'|'.join(sorted(map(re.escape, ARGUMENTS), key=len, reverse=True))})(?![\w(]|\.\w)"
    rf"(?:(?:: |：)({_VALUE})(?![\w/]| ->))?",
    re.ASCII,
)
_SET = re.compile(r"-o ([a-z_]+(?:\.[a-z_]+)+)=[A-Z]+\b", re.ASCII)
_FLAGS = (
    (
        re.compile(
            r"--resume (none|auto|best|[^\s;,，；：。（）]*[/_][^\s;,，；：。（）]*?)(?=[\s;,)，；：。（）]|\.?$|\. )",
            re.ASCII,
        ),
        r'resume="\1"',
    ),
    (re.compile(r"--resume\b", re.ASCII), "resume="),
    (re.compile(r"--allow-inexact\b", re.ASCII), "allow_inexact=True"),
    (re.compile(r"--overwrite\b", re.ASCII), "overwrite=True"),
    (re.compile(r"--allow-change\b", re.ASCII), "allow_change="),
    (re.compile(r"--weights(-partial)?\b", re.ASCII), "model.set_state_dict(paddle.load(...))"),
    (re.compile(r"\b([Tt])he same command\b"), r"\1he same program"),
    (re.compile("同样的命令"), "同样的程序"),
)


# Of the last messages in the terms of Python, how each was written: the text itself stays a plain one, since a program
# may keep it in what a checkpoint holds.
_MOST_KEPT = 256
_written: dict[str, tuple[str, bool]] = {}
# What stands for a trainer's own arguments where `paddle.Model.fit` was called.
_OF_FIT = (
    ("Trainer.train(global_batch_size=", "Model.fit(batch_size="),
    ("Trainer.train(", "Model.fit("),
    ("Trainer(", "ExactResume("),
)


def in_python_terms(text: str, of_fit: bool = False) -> str:
    """A message in the terms of Python: keys of a config and flags as the arguments that set the same.

    Those of a `Trainer` or, `of_fit`, of `Model.fit` and its ExactResume.
    """
    text = _SET.sub(lambda found: ARGUMENTS.get(found[1], found[0]), text)
    text = _KEY.sub(lambda found: _argument(found[1], found[2]), text)
    for flag, argument in _FLAGS:
        text = flag.sub(argument, text)
    for trainers, fits in _OF_FIT if of_fit else ():
        text = text.replace(trainers, fits)
    return text


def _argument(key: str, value: str | None) -> str:
    argument = ARGUMENTS[key]
    if value is None:
        return argument
    shown = _WORDS.get(value) or (value if re.fullmatch(r"-?[\d.]+", value) else f'"{value}"')
    return f"{argument[:-1]}{shown})"


def in_user_terms(text: str, of_fit: bool = False) -> str:
    """The message in the terms in which this run is spoken of."""
    if speaks_command():
        return text
    said = in_python_terms(text, of_fit)
    if said != text:
        _written.pop(said, None)
        _written[said] = text, of_fit
        if len(_written) > _MOST_KEPT:
            del _written[next(iter(_written))]
    return said


def translated_in_user_terms(text: str, translate: Callable[[str], str]) -> str:
    """What `translate` makes of the message that `in_user_terms` made this text of lately, in those terms too."""
    if text not in _written:
        return translate(text)
    written, of_fit = _written[text]
    return in_python_terms(translate(written), of_fit)
