"""Callbacks that keep and change state of all kinds, and let a weight show it."""

from __future__ import annotations

import collections
import contextvars
import copy
import dataclasses
import functools
import io
import itertools
import multiprocessing
import os
import random
import threading
import weakref
from enum import Enum
from typing import ClassVar, NamedTuple

import numpy as np
import paddle
from paddle import nn

from paddle_resume import Callback

MODULE = {"steps": 0}


def nudge(trainer, value):
    """What `value` is goes into a weight, and from there into all that follows."""
    weight = trainer.model.out.bias
    weight.set_value(weight + 1e-3 * float(np.tanh(value / 10)))


class Step(Callback):
    """Base of those that show in each step what they keep."""

    def on_step_end(self, trainer):
        nudge(trainer, self.value(trainer))

    def value(self, trainer):
        return 0.0


class Numbers(Step):
    total, best, label, flag, nothing = 0, float("inf"), "a", False, None

    def value(self, trainer):
        self.total += 1
        self.best = min(self.best, abs(np.sin(self.total)))
        self.label = "abc"[self.total % 3]
        self.flag = not self.flag
        self.nothing = None if self.total % 2 else 1j
        return self.total + self.best + ord(self.label) / 100 + self.flag + (self.nothing is None)


class Containers(Step):
    def __init__(self):
        self.window = collections.deque(maxlen=3)
        self.seen, self.frozen, self.pair = set(), frozenset(), (0, (0, 1))
        self.ordered, self.counted = collections.OrderedDict(), collections.Counter()
        self.default = collections.defaultdict(list)
        self.by_number = {0: 0, (1, 2): [0], None: 1.5}
        self.alias = self.by_number[1, 2]
        self.loop = [self.alias]
        self.loop.append(self.loop)
        self.chain = collections.ChainMap({}, {"base": 1})

    def value(self, trainer):
        step = trainer.step
        self.window.append(step % 4)
        self.seen.add((step * 7) % 11)
        self.frozen = self.frozen | {step % 3}
        self.pair = (self.pair[0] + 1, (self.pair[1][0] + self.pair[0], step))
        self.ordered[step % 5] = step
        self.ordered.move_to_end(min(self.ordered))
        self.counted[step % 2] += 1
        self.default[step % 3].append(step)
        self.alias[0] += 1
        self.chain["new"] = self.chain.get("new", 0) + 1
        assert self.loop[1] is self.loop and self.window.maxlen == 3
        held = sum(self.window) + len(self.seen) + len(self.frozen) + self.pair[1][0] + next(iter(self.ordered))
        return held + self.counted[1] + len(self.default[2]) + self.by_number[1, 2][0] + self.loop[0][0]


class Point(NamedTuple):
    x: float
    y: list


@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    seen: list = dataclasses.field(default_factory=list)


class Mood(Enum):
    CALM = 1
    WILD = 2


class Slotted:
    __slots__ = ("count", "inner")

    def __init__(self):
        self.count, self.inner = 0, None


class Objects(Step):
    """Objects of classes of the user's, nested and put in another's place."""

    def __init__(self):
        self.point, self.settings, self.mood, self.slotted = Point(0.0, []), Settings(), Mood.CALM, Slotted()

    def value(self, trainer):
        self.point = Point(self.point.x + 1, [*self.point.y[-2:], self.point.x])
        self.settings = dataclasses.replace(self.settings, scale=self.settings.scale + 0.1)
        self.settings.seen.append(trainer.step)
        self.mood = Mood.WILD if self.mood is Mood.CALM else Mood.CALM
        self.slotted.count += 1
        self.slotted.inner = self.slotted.inner or Settings(seen=self.settings.seen)
        return (
            sum(self.point.y)
            + self.settings.scale
            + self.mood.value
            + self.slotted.count
            + len(self.slotted.inner.seen)
        )


class Generators(Step):
    def __init__(self):
        self.python, self.old = random.Random(1), np.random.RandomState(3)
        self.numpy = np.random.Generator(np.random.Philox(2))
        self.paddle = random.Random(5).random
        self.children = np.random.SeedSequence(9)

    def value(self, trainer):
        child = np.random.default_rng(self.children.spawn(1)[0]).random()
        return self.python.gauss(0, 1) + self.old.normal() + self.numpy.random() + self.paddle() + child


class Global(Step):
    """Draws from the global generators, and keeps state in the module, the class and a function's attribute."""

    kept: ClassVar = collections.Counter()

    def value(self, trainer):
        MODULE["steps"] += 1
        Global.kept["calls"] += 1
        return random.random() + np.random.rand() + float(paddle.rand([])) + MODULE["steps"] + Global.kept["calls"]

    def on_epoch_begin(self, trainer):
        nudge(trainer, random.random() + np.random.rand())


class Tensors(Step):
    def __init__(self):
        self.average, self.sum = None, np.zeros((3, 2), np.float32)
        self.view = self.sum[1:]
        self.big, self.kept = np.zeros(3000), {}

    def value(self, trainer):
        weight = trainer.model.out.weight
        self.average = weight.clone() if self.average is None else 0.5 * self.average + 0.5 * weight
        self.view += 1
        self.big[trainer.step % 3000] += 1
        self.kept[trainer.step % 3] = weight.sum()
        return float(self.average.sum()) + self.sum.sum() + self.big.sum() + sum(map(float, self.kept.values()))


class ByName(Callback):
    """An average of the weights by Paddle's names, and a copy of the model that follows it."""

    def __init__(self):
        self.shadow, self.twin = {}, None

    def on_step_end(self, trainer):
        for parameter in trainer.model.parameters():
            old = self.shadow.get(parameter.name, parameter.clone())
            self.shadow[parameter.name] = 0.7 * old + 0.3 * parameter.detach()
        if trainer.step % 5 == 4:
            for parameter in trainer.model.parameters():
                parameter.set_value(0.9 * parameter + 0.1 * self.shadow[parameter.name])


class Twin(Callback):
    """A deep copy of a layer, made in the run, that follows it and pulls."""

    twin = None

    def on_step_end(self, trainer):
        out = trainer.model.out
        if self.twin is None:
            self.twin = copy.deepcopy(out)
        self.twin.weight.set_value(0.8 * self.twin.weight + 0.2 * out.weight)
        if trainer.step % 4 == 3:
            out.weight.set_value(0.9 * out.weight + 0.1 * self.twin.weight)


def _add(kept, step):
    kept.append(step)
    return sum(kept[-3:])


def _low(said):
    return min(said, 20)


def _high(said):
    return max(said, 20)


class Functions(Step):
    """Functions, partials, methods and iterators, exchanged as the run goes on."""

    def __init__(self):
        self.count, self.turn = itertools.count(1, 2), itertools.count(0.5, 0.25)
        self.items = iter([3, 1, 4, 1, 5, 9, 2, 6] * 4)
        self.partial = functools.partial(_add, [])
        self.choose = _low
        self.scale = self._small

    def _small(self, value):
        return value * 0.1

    def _large(self, value):
        return value * 0.5

    def value(self, trainer):
        self.choose = _high if self.choose is _low else _low
        if trainer.step == 6:
            self.scale = self._large
        said = next(self.count) + next(self.turn) + next(self.items) + self.partial(trainer.step)
        return self.scale(self.choose(said))


def _count_calls():
    """Keeps what it counts in itself, in a default argument, and in a class."""
    _count_calls.calls = getattr(_count_calls, "calls", 0) + 1
    Tally.add(_count_calls.calls)
    return Tally.total


class Tally:
    total = 0

    @staticmethod
    def add(value, seen=[]):  # noqa: B006 (what is tested)
        seen.append(value)
        Tally.total += len(seen) % 5


class Reached(Step):
    """What it changes is reached by name only."""

    def value(self, trainer):
        np.seterr(over=("ignore", "warn", "raise")[trainer.step % 3])
        os.environ["GENERATED_LEVEL"] = f"{os.environ.get('GENERATED_LEVEL', '')[-2:]}{trainer.step % 7}"
        return _count_calls() + len(np.geterr()["over"]) + int(os.environ["GENERATED_LEVEL"])


LEVEL = contextvars.ContextVar("LEVEL", default=1)


class Key:
    pass


class Loss(float):
    pass


class Indirect(Step):
    """What it keeps is held weakly, by thread, in memory of C, or in values of a class of its own."""

    def __init__(self):
        self.keys = [Key(), Key()]
        self.weak, self.last = weakref.WeakKeyDictionary(), None
        self.local, self.shared = threading.local(), multiprocessing.Value("q", 0)
        self.text, self.view, self.least = io.StringIO(), memoryview(bytearray(4)), Loss(9)

    def value(self, trainer):
        key = self.keys[trainer.step % 2]
        self.weak[key] = [*self.weak.get(key, ())[-3:], trainer.step]
        before = self.last() if self.last is not None else None
        self.last = weakref.ref(key)
        LEVEL.set((LEVEL.get() * 3) % 11)
        self.local.count = getattr(self.local, "count", 0) + 1
        self.shared.value += LEVEL.get()
        self.text.write(str(trainer.step))
        self.view[trainer.step % 4] += 1
        self.least = Loss(min(self.least, abs(np.cos(self.shared.value))))
        self.least.step = trainer.step
        said = self.local.count + self.shared.value % 13 + self.text.tell() % 5 + sum(self.view) % 7 + self.least
        return said + (before is key) + sum(map(len, self.weak.values())) + self.least.step % 3


class Walking:
    """A generator of numbers that tells where it is."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.at = (self.at * 5 + 3) % 17
        return self.at

    def state_dict(self):
        return {"at": self.at}

    def set_state_dict(self, state):
        self.at = state["at"]


class Stateful(Step):
    """Says itself what it keeps, and holds one that does."""

    def __init__(self):
        self.walk, self.count = Walking(), 0

    def value(self, trainer):
        self.count += 1
        return next(self.walk) + self.count

    def state_dict(self):
        return {"walk": self.walk.state_dict(), "count": self.count}

    def set_state_dict(self, state):
        self.walk.set_state_dict(state["walk"])
        self.count = state["count"]


class Holder(Step):
    """Holds one that says what it keeps."""

    def __init__(self):
        self.walks = [Walking(), Walking()]

    def value(self, trainer):
        return next(self.walks[trainer.step % 2])


class Begins(Callback):
    """Begins anew in every start, and sets weights there."""

    def on_train_begin(self, trainer):
        self.losses, self.draw = [], random.Random(2)
        trainer.model.out.bias.set_value(paddle.full([2], 0.1))

    def on_step_end(self, trainer):
        self.losses.append(float(trainer.learning_rate))
        nudge(trainer, len(self.losses) + self.draw.random())


class AtEpochs(Callback):
    """Changes parts of Paddle's own at the begin of an epoch, which a resume within it does not call again."""

    def on_epoch_begin(self, trainer):
        layers, late = trainer.model.parts, trainer.epoch % 2 == 1
        trainer.model.out.bias.stop_gradient = late
        trainer.model.out.weight.optimize_attr["learning_rate"] = 0.5 if late else 1.0
        if late and not isinstance(getattr(layers[0], "layer", None), nn.layer.rnn.RNNBase):
            layers[0].eval()  # Paddle's recurrent layers have no backward pass then.


class ClipsLater(Callback):
    """Sets the clipping and the weight decay of the optimizer in mid-run."""

    def on_step_begin(self, trainer):
        if trainer.step == 4:
            inner = getattr(trainer.optimizer, "inner_optimizer", trainer.optimizer)
            inner._grad_clip = nn.ClipGradByGlobalNorm(0.05)


class Freezes(Callback):
    """Freezes layers for some steps; not recurrent ones, through which Paddle takes no gradient then."""

    def on_step_begin(self, trainer):
        recurrent = [each for each in trainer.model.sublayers() if isinstance(each, nn.layer.rnn.RNNBase)]
        kept = {id(parameter) for each in recurrent for parameter in each.parameters()}
        if trainer.step in (3, 8):
            for parameter in trainer.model.parts.parameters():
                if id(parameter) not in kept:
                    parameter.stop_gradient = trainer.step == 3


class Drops(Callback):
    """Turns dropout up and down, and a hook on."""

    def on_step_begin(self, trainer):
        for layer in trainer.model.sublayers():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.1 + 0.05 * (trainer.step % 5)
        if trainer.step == 5:
            trainer.model.out.register_forward_post_hook(_halve)


def _halve(layer, inputs, output):
    return output * 0.5


class Replaces(Callback):
    """Puts another layer without weights in the place of one."""

    def on_step_begin(self, trainer):
        if trainer.step == 4:
            trainer.model.after = nn.Dropout(0.25)
            trainer.model.out.register_forward_pre_hook(functools.partial(_drop, trainer.model))


def _drop(model, layer, inputs):
    return (model.after(inputs[0]),)


class Curriculum(Callback):
    """Makes the data harder as it goes on, and shuffles them by a generator of its own."""

    def __init__(self, data):
        self.data, self.draw = data, np.random.default_rng(8)

    def on_epoch_begin(self, trainer):
        if hasattr(self.data, "harder"):
            self.data.harder(self.draw)


class Rates(Callback):
    """Sets the learning rate itself, where it is a number."""

    def on_step_begin(self, trainer):
        if isinstance(trainer.optimizer._learning_rate, float) and trainer.step % 3 == 0:
            trainer.optimizer.set_lr(0.05 / (1 + trainer.step % 4))


class Watches(Callback):
    """Uses what an evaluation and a log record say."""

    def __init__(self):
        self.results, self.logged = [], 0.0

    def on_evaluate_end(self, trainer, split, results):
        self.results.append(dict(results))
        nudge(trainer, len(self.results))

    def on_evaluate_step(self, trainer):
        self.logged += 0.5

    def on_log(self, trainer, scalars):
        self.logged += scalars.get("train/loss", 0.1)
        nudge(trainer, self.logged)

    def on_epoch_end(self, trainer):
        nudge(trainer, self.logged + random.random())


class Averaged(Callback):
    """Paddle's own average of the weights, which lives beside the optimizer."""

    def __init__(self, parameters):
        self.average = paddle.incubate.ModelAverage(0.5, parameters=parameters, min_average_window=2)

    def on_step_end(self, trainer):
        self.average.step()
        if trainer.step % 5 == 4:
            self.average.apply(need_restore=False)


PLAIN = (Numbers, Containers, Objects, Generators, Global, Tensors, ByName, Twin, Functions, Stateful, Holder)
ELSEWHERE = (Reached, Indirect)
CHANGING = (Begins, AtEpochs, ClipsLater, Freezes, Drops, Replaces, Rates, Watches)
CALLBACKS = {
    **{cls.__name__: lambda model, data, cls=cls: cls() for cls in (*PLAIN, *ELSEWHERE, *CHANGING)},
    "Curriculum": lambda model, data: Curriculum(data),
    "Averaged": lambda model, data: Averaged(model.parameters()),
}
