"""What has to be known of each suite: its loops, as they were when they were proven, and what in them is no state."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import paddle

from paddle_resume.errors import StateError
from paddle_resume.found_state.paddle_rules import declare_derived
from paddle_resume.suites.stack import Stack

_ADVICE = (
    "Use a version that is proven, or go on with --allow-inexact; whether it comes out the same, two short runs tell, "
    "one of them interrupted."
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
        lazy: attributes that are made in the course of a run, or attributes of attributes, by `module:class`, and what
            makes one of an object of that class. Who goes on from a checkpoint that had one makes it before the
            generators are put back, so that it is not made later.
    """

    suite: str
    package: str
    distribution: str
    loops: Mapping[str, tuple[str, ...]]
    rewritten: Collection[str] = ()
    leave: Mapping[str, frozenset[str]] = field(default_factory=dict)
    derived: Mapping[str, frozenset[str]] = field(default_factory=dict)

    lazy: Mapping[str, Mapping[str, Callable[[Any], None]]] = field(default_factory=dict)

    @property
    def modules(self) -> set[str]:
        """The modules whose loops are to be open."""
        return {name.partition(":")[0] for name in self.loops} | set(self.rewritten)

    @property
    def version(self) -> str:
        """The version in use, as far as it can be told."""
        module = sys.modules.get(self.package)
        found = getattr(module, "__version__", None)
        if isinstance(found, str):
            return found
        try:
            installed = importlib.metadata.distribution(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "of a checkout"
        # Programs put their own folder first on the path: what is installed need not be what runs.
        home = str(installed.locate_file(self.package))
        return installed.version if (getattr(module, "__file__", None) or "").startswith(home) else "of a checkout"

    def declare(self) -> None:
        """Have the walker leave alone what follows from the program, in those classes that are imported by now."""
        for name, attributes in self.derived.items():
            cls = _imported(name)
            if isinstance(cls, type):
                declare_derived(cls, attributes)


class LazyParts:
    """Owner of which of the suite's parts are there that it makes in the course of a run."""

    may_be_absent = True

    def __init__(self, adapter: Optional[Adapter], things: Iterable[Any]) -> None:
        lazy = adapter.lazy if adapter is not None else {}
        by_class = {_imported(name): makers for name, makers in lazy.items()}
        self._parts = [
            (each, makers)
            for each in things
            for cls, makers in by_class.items()
            if isinstance(cls, type) and issubclass(type(each), cls)
        ]

    def state_dict(self) -> dict[str, Any]:
        made = [[name for name in makers if _is_made(thing, name)] for thing, makers in self._parts]
        return {"made": made} if any(made) else {}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        for (thing, makers), made in zip(self._parts, state["made"]):
            for name in made:
                makers[name](thing)


def recognised(adapters: Collection[Adapter], stack: Stack) -> Optional[Adapter]:
    """The suite whose loop asks for a batch, or None."""
    names = [level.name for level in stack.levels]
    return next((each for each in adapters if any(name in each.loops for name in names)), None)


def require_proven(adapter: Adapter, stack: Stack) -> None:
    """Raises StateError if the suite trains by other code than was proven, and says which."""
    tops = {name.partition(".")[0] for name in adapter.loops}
    for level in stack.levels:
        known = adapter.loops.get(level.name)
        if level.name.partition(".")[0] not in tops or (known is not None and level.function.digest in known):
            continue
        was = f"another one than with which it was proven ({', '.join(known)})" if known else "none that was proven"
        raise StateError(
            f"{adapter.suite} {adapter.version} trains by {level.name.partition(':')[2]} "
            f"({level.frame.f_code.co_filename}, digest {level.function.digest}), and that is {was}. {_ADVICE}"
        )


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    return _at(sys.modules.get(module), path)


def _is_made(thing: Any, path: str) -> bool:
    return _at(thing, path) is not None


def _at(thing: Any, path: str) -> Any:
    for part in path.split("."):
        thing = getattr(thing, part, None)
    return thing


_EVALUATION_OF_DETECTION = ("_eval_loader", "_eval_dataset", "_eval_batch_sampler")


def _make_evaluation_of_detection(trainer: Any) -> None:
    """As PaddleDetection's Trainer does before its first evaluation."""
    create = _imported("ppdet.core.workspace:create")
    cfg = trainer.cfg
    trainer._eval_dataset = cfg.EvalDataset
    trainer._eval_batch_sampler = paddle.io.BatchSampler(trainer._eval_dataset, batch_size=cfg.EvalReader["batch_size"])
    if cfg.metric == "VOC":
        cfg["EvalReader"]["collate_batch"] = False
    sampler = {} if cfg.metric == "Pose3DEval" else {"batch_sampler": trainer._eval_batch_sampler}
    trainer._eval_loader = create("EvalReader")(trainer._eval_dataset, cfg.worker_num, **sampler)


def _make_evaluation_of_trainer(trainer: Any) -> None:
    """As PaddleNLP's Trainer does in each evaluation; its callbacks get the latest one."""
    data = trainer.eval_dataset
    latest = list(data.values())[-1] if isinstance(data, dict) else data
    trainer.callback_handler.eval_dataloader = trainer.get_eval_dataloader(latest)


ADAPTERS = (
    Adapter(
        "PaddleDetection",
        "ppdet",
        "paddledet",
        {
            # 2.6.0; the development branch of 2024-10
            "ppdet.engine.trainer:Trainer.train": ("bce5954fc14aedef", "7de0c321ae9d83f5"),
            "ppdet.data.reader:BaseDataLoader.__next__": ("39bfb20fc8e22c83",),
        },
        # A function that is made in each step; whether the metrics were made, which makes them.
        leave={"ppdet.engine.trainer:Trainer.train": frozenset(("deep_pin", "Init_mark"))},
        derived={
            "ppdet.engine.trainer:Trainer": frozenset(("cfg", "_metrics", *_EVALUATION_OF_DETECTION)),
            # What the last batch gave, for a distillation that comes in the same step.
            "ppdet.modeling.losses.yolo_loss:YOLOv3Loss": frozenset(("distill_pairs",)),
        },
        lazy={"ppdet.engine.trainer:Trainer": {"_eval_loader": _make_evaluation_of_detection}},
    ),
    # 2.8.0; 2.9.1; the development branch of 2024-12
    Adapter(
        "PaddleSeg",
        "paddleseg",
        "paddleseg",
        {"paddleseg.core.train:train": ("e8db92d2d4ba387e", "384b24fda27acc72", "cee07d3c92fa8c93")},
    ),
    Adapter(
        "PaddleClas",
        "ppcls",
        "paddleclas",
        {
            # 2.6.0
            "ppcls.engine.engine:Engine.train": ("ea1697d9c5b75933",),
            "ppcls.engine.train.train:train_epoch": ("045ba0bb7dd1f7ce",),
        },
    ),
    # 2.10
    Adapter("PaddleOCR", "ppocr", "paddleocr", {"tools.program:train": ("a3621b42122af3c0",)}),
    Adapter(
        "PaddleScience",
        "ppsci",
        "paddlesci",
        {
            # 1.4.0
            "ppsci.solver.solver:Solver.train": ("8ca556cf9e4a442f",),
            "ppsci.solver.train:train_epoch_func": ("1236986a3024a73f",),
        },
        derived={"ppsci.solver.solver:Solver": frozenset(("train_epoch_func", "eval_func", "visu_func"))},
    ),
    # The development branch of 2024-03
    Adapter(
        "PaddleSpeech",
        "paddlespeech",
        "paddlespeech",
        {
            "paddlespeech.t2s.training.trainer:Trainer.run": ("f07a569671e34859",),
            "paddlespeech.t2s.training.updaters.standard_updater:StandardUpdater.update": ("91572d2100469dc5",),
            "paddlespeech.t2s.training.updaters.standard_updater:StandardUpdater.read_batch": ("ffccbc700aa84564",),
        },
    ),
    # 2.8.1; 3.0.0b4
    Adapter(
        "PaddleNLP",
        "paddlenlp",
        "paddlenlp",
        {
            "paddlenlp.trainer.trainer:Trainer.train": ("a20398c5b8a9aebb", "ad42a48bb29cea8b"),
            "paddlenlp.trainer.trainer:Trainer._inner_training_loop": ("9d98c529f2d7628e", "22d003eb0d20e018"),
        },
        derived={"paddlenlp.trainer.trainer_callback:CallbackHandler": frozenset(("eval_dataloader",))},
        lazy={"paddlenlp.trainer.trainer:Trainer": {"callback_handler.eval_dataloader": _make_evaluation_of_trainer}},
    ),
)
