"""What a run can be made of, as one table of features and settings; drawn by hypothesis, or combined in pairs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

import paddle_resume  # noqa: F401  # isort: skip (its CPU set-up comes before Paddle)
from generated.callbacks import CALLBACKS
from generated.data import COLLATES, DATA, ORDERS, STREAMS
from generated.history import STEPS
from generated.losses import LOSSES
from generated.models import PARTS
from generated.optimizers import CLIPS, DENSE_ONLY, OPTIMIZERS, SCHEDULERS
from generated.run import LOGGERS, METRICS, TRAINERS

Description = dict[str, Any]

TABLE: dict[str, tuple[Any, ...]] = {
    "parts": tuple(PARTS),
    "loss": tuple(LOSSES),
    "optimizer": tuple(OPTIMIZERS),
    "clip": tuple(CLIPS),
    "scheduler": tuple(SCHEDULERS),
    "lr_interval": ("step", "epoch"),
    "callbacks": ("none", *CALLBACKS),
    "metric": tuple(METRICS),
    "logger": tuple(LOGGERS),
    "data": tuple(DATA),
    "collate": tuple(COLLATES),
    "order": ORDERS,
    "drop_last": (False, True),
    "workers": (0, 2),
    "evaluate": ("epoch", "none", 2, 3),
    "best": ("none", "last", "best"),
    "patience": (None, 2),
    "accumulate": (1, 2),
    "ema": ("none", "evaluated", "kept"),
    "on_nan": ("stop", "skip", "rollback", "ignore"),
    "trainer": tuple(TRAINERS),
    "log_every": (1, 3, 100),
    "save_every": (3, 1, 4, None),
    "epoch_every": (1, 2, None),
    "keep": (100, 1, 2),
    "background": (False, True),
    "memory": ("off", 1, 3),
}
"""Each feature or setting with its values, the plain one first."""
SEVERAL = ("parts", "callbacks")


def possible(description: Description) -> Description:
    """The same without what Paddle itself, or the meaning of a setting, leaves no room for.

    What the package refuses, since it cannot be resumed, stays in, but for what would take too many runs away.
    """
    made = dict(description)
    if "sparse-embedding" in made["parts"]:
        if made["optimizer"] in DENSE_ONLY:
            made["optimizer"] = "lazy-adam"
        made["clip"] = "none"
    if made["optimizer"] == "lbfgs":
        made.update(accumulate=1, scheduler="number", clip="none")
        if made["trainer"] in ("stepping", "leaving"):  # It would step without the closure that an LBFGS asks for.
            made["trainer"] = "counting"
    if made["data"] in STREAMS:
        made.update(order="in-order")
        if made["data"] != "dealt":
            made.update(workers=0)
    if made["collate"] in ("object", "closure") or made["data"] == "drawing":
        made["workers"] = 0  # With workers what they keep would be lost, so that the run is refused.
    if made["trainer"] in ("stepping", "leaving"):
        made["accumulate"] = 1
        made["on_nan"] = "stop" if made["on_nan"] == "skip" else made["on_nan"]
    if made["trainer"] == "spiking" and made["on_nan"] in ("stop", "ignore"):
        made.update(on_nan="rollback", save_every=3)
    if made["evaluate"] == "none":
        made.update(best="none")
        if made["scheduler"] == "plateau":
            made["scheduler"] = "number"
    if made["best"] == "none":
        made["patience"] = None
    if made["optimizer"] == "lookahead" and made["scheduler"] != "number":
        made["scheduler"] = "number"
    return made


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    """A run of up to three parts and three callbacks."""
    made: Description = {}
    for name, values in TABLE.items():
        value = st.sampled_from(values)
        made[name] = draw(st.lists(value, max_size=3, unique=name == "callbacks") if name in SEVERAL else value)
    made["parts"] = made["parts"] or ["linear"]
    made["callbacks"] = [name for name in made["callbacks"] if name != "none"]
    return possible(made)


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """What happens to a run: up to three interruptions, and perhaps that it was to be shorter at first."""
    kill = st.fixed_dictionaries(
        {
            "moment": st.sampled_from(("step", "save", "evaluate", "epoch", "start")),
            "after": st.integers(0, STEPS - 1),
            "count": st.integers(1, 8),
            "signal": st.sampled_from(("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")),
        }
    )
    kills = draw(st.lists(kill, min_size=1, max_size=3))
    short = draw(st.sampled_from((None, None, None, 3, 5, 8, 10)))
    return {"short": short, "kills": sorted(kills, key=lambda kill: kill["after"])}


def in_pairs(seed: int) -> Iterator[Description]:
    """Runs with one part and one callback each, in which any two values of the table come together at least once."""
    draw = random.Random(seed)
    names = list(TABLE)
    left = {_pair(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in TABLE[a] for y in TABLE[b]}
    while left:
        chosen = dict(min(left, key=repr))
        for name in draw.sample(names, len(names)):
            if name not in chosen:
                values = draw.sample(TABLE[name], len(TABLE[name]))
                new = [sum(_pair(name, value, *kept) in left for kept in chosen.items()) for value in values]
                chosen[name] = values[new.index(max(new))]
        left -= {_pair(*one, *other) for one, other in itertools.combinations(chosen.items(), 2)}
        made = {name: [chosen[name]] if name in SEVERAL else chosen[name] for name in names}
        made["callbacks"] = [name for name in made["callbacks"] if name != "none"]
        yield possible(made)


def _pair(a: str, x: Any, b: str, y: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ((a, x), (b, y)) if a < b else ((b, y), (a, x))


def history_of(description: Description, seed: int) -> dict[str, Any]:
    """A history by seed: a kill and another interruption, and in each third run a first end."""
    draw = random.Random(seed)
    signals = ("SIGKILL", draw.choice(("SIGKILL", "SIGTERM", "SIGINT")))
    moments = ["step", draw.choice(("step", "save", "epoch", "start"))]
    if description["evaluate"] != "none":
        moments[1] = draw.choice((moments[1], "evaluate"))
    kills = [
        {"moment": moment, "after": after, "count": draw.randint(1, 6), "signal": signal}
        for moment, after, signal in zip(moments, (draw.randint(3, 6), draw.randint(7, 11)), signals)
    ]
    return {"short": draw.choice((None, None, 8)), "kills": kills}
