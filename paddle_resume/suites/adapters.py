"""What has to be known of each suite: its loops, as they were when they were proven, and what in them is no state."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from paddle_resume.errors import StateError
from paddle_resume.found_state.paddle_rules import declare_derived
from paddle_resume.suites.stack import Stack

_ADVICE = (
    "Use a version that is proven, or go on with --allow-inexact (the run's lineage will say so); "
    "`paddle-resume prove` tells whether it comes out the same."
)


@dataclass(frozen=True)
class Adapter:
    """One suite.

    Args:
        suite: how people call it.
        package: how programs import it.
        distribution: how it is installed.
        loops: the functions that train, from the outermost to the innermost, each `module:qualname` with the digests
            of its code with which it was proven.
        rewritten: further modules in which a `for` stands around the training.
        leave: variables of those functions that follow from the command, or are seen by nobody.
        derived: the same for attributes, by `module:class`.
    """

    suite: str
    package: str
    distribution: str
    loops: Mapping[str, tuple[str, ...]]
    rewritten: Collection[str] = ()
    leave: Mapping[str, frozenset[str]] = field(default_factory=dict)
    derived: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def modules(self) -> set[str]:
        """The modules whose loops are to be open."""
        return {name.partition(":")[0] for name in self.loops} | set(self.rewritten)

    @property
    def version(self) -> str:
        """The version in use, as far as it can be told."""
        found = getattr(sys.modules.get(self.package), "__version__", None)
        if isinstance(found, str):
            return found
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "of a checkout"

    def declare(self) -> None:
        """Have the walker leave alone what follows from the program, in those classes that are imported by now."""
        for name, attributes in self.derived.items():
            cls = _imported(name)
            if isinstance(cls, type):
                declare_derived(cls, attributes)


def recognised(adapters: Collection[Adapter], stack: Stack) -> Optional[Adapter]:
    """The suite whose loop asks for a batch, or None."""
    names = [level.name for level in stack.levels]
    return next((each for each in adapters if any(name in each.loops for name in names)), None)


def require_proven(adapter: Adapter, stack: Stack) -> None:
    """Raises StateError if the suite trains by other code than was proven, and says which."""
    for level in stack.levels:
        known = adapter.loops.get(level.name)
        if known is not None and level.function.digest not in known:
            raise StateError(
                f"{adapter.suite} {adapter.version} has another {level.name.partition(':')[2]} "
                f"({level.frame.f_code.co_filename}, digest {level.function.digest}) than those with which resuming it "
                f"was proven ({', '.join(known)}). {_ADVICE}"
            )


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


_CLOCKS_OF_OCR = frozenset(("reader_start", "train_reader_cost", "train_batch_cost", "train_batch_time", "eta_meter"))
ADAPTERS = (
    Adapter(
        "PaddleDetection",
        "ppdet",
        "paddledet",
        {"ppdet.engine.trainer:Trainer.train": ()},
        derived={
            "ppdet.engine.trainer:Trainer": frozenset(("cfg", "_eval_loader", "_eval_dataset", "_eval_batch_sampler")),
        },
    ),
    Adapter("PaddleSeg", "paddleseg", "paddleseg", {"paddleseg.core.train:train": ()}),
    Adapter(
        "PaddleClas",
        "ppcls",
        "paddleclas",
        {"ppcls.engine.engine:Engine.train": (), "ppcls.engine.train.train:train_epoch": ()},
    ),
    Adapter(
        "PaddleOCR",
        "ppocr",
        "paddleocr",
        {"tools.program:train": ()},
        leave={"tools.program:train": _CLOCKS_OF_OCR},
    ),
)
