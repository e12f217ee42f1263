"""Every optimizer of Paddle, with groups, clips, decay and regularizers: built as asked, exact across a resume."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from forking import assert_exact_resume
from paddle.regularizer import L1Decay, L2Decay

from paddle_resume.builders.optimizer import build_optimizer, check_optimizer
from paddle_resume.builders.parameter_groups import ClipAcrossGroups, parameter_groups, regularize
from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.config.optimizer import OptimizerConfig as Section
from paddle_resume.errors import CheckpointError, ConfigError, InexactResumeError
from paddle_resume.owners.lbfgs import LBFGSHistory, LBFGSNumbers
from paddle_resume.owners.model import ModelState, ParameterNames
from paddle_resume.owners.optimizer import OptimizerState
from paddle_resume.owners.optimizer_settings import OptimizerSettings
from paddle_resume.owners.paddle_owners import paddle_owners
from paddle_resume.stateful import Owners
from paddle_resume.testing import Kill

# Each class of paddle.optimizer with arguments that make it use all the state it can have.
EVERY: dict[str, dict[str, Any]] = {
    "SGD": {},
    "Momentum": {"use_nesterov": True},
    "Momentum, all tensors at once": {"use_multi_tensor": True},
    "Adagrad": {"initial_accumulator_value": 0.1},
    "Adadelta": {},
    "RMSProp": {"momentum": 0.5, "centered": True},
    "Adam": {},
    "Adam, all tensors at once": {"use_multi_tensor": True},
    "Adam, AMSGrad": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.1},
    "AdamW, AMSGrad": {"amsgrad": True},
    "Adamax": {},
    "Lamb": {},
    "NAdam": {},
    "RAdam": {},
    "ASGD": {"batch_num": 3},
    "Rprop": {},
    "LBFGS": {"max_iter": 3, "history_size": 2},
    "LBFGS, line search": {"max_iter": 3, "line_search_fn": "strong_wolfe"},
}
STATELESS = {"SGD"}


def _here(name: str) -> bool:
    """Whether this version of Paddle has the class and its arguments."""
    found = getattr(paddle.optimizer, name.split(",")[0], None)
    return found is not None and set(EVERY[name]) <= set(inspect.signature(found).parameters)


HERE = [name for name in EVERY if _here(name)]
CLASSES = [name for name in HERE if "," not in name]
GROUPED = [name for name in CLASSES if name not in ("LBFGS", "Rprop")]


class Net(paddle.nn.Layer):
    """Layers of one shape, so that state bound to the wrong one would fit."""

    def __init__(self) -> None:
        super().__init__()
        self.features = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.Tanh(), paddle.nn.Linear(4, 4))
        self.norm = paddle.nn.BatchNorm1D(4)
        self.head = paddle.nn.Linear(4, 4)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.norm(self.features(x)))


class TiedAndFrozen(Net):
    """Two layers share a weight, and one bias is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.features[0].weight
        self.features[2].bias.stop_gradient = True


def build(model: paddle.nn.Layer, rate: Any = 0.05, **section: Any) -> Any:
    return build_optimizer(Section.model_validate(section), model, rate)


class Run:
    """A model and its optimizer, trained by a loop written by hand."""

    def __init__(self, model: type[paddle.nn.Layer] = Net, rate: Any = 0.05, **section: Any) -> None:
        paddle.seed(7)
        self.model = model()
        self.optimizer = build(self.model, rate, **section)

    @property
    def owners(self) -> Owners:
        return Owners(**paddle_owners(self.model, {"": self.optimizer}))

    def loss(self, step: int) -> paddle.Tensor:
        data = np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32)
        return ((self.model(paddle.to_tensor(data)) - 1) ** 2).mean()

    def train(self, start: int, stop: int) -> None:
        for step in range(start, stop):
            if isinstance(self.optimizer, paddle.optimizer.LBFGS):
                self.optimizer.step(lambda step=step: self.closure(step))
            else:
                self.loss(step).backward()
                self.optimizer.step()
            self.optimizer.clear_grad()

    def closure(self, step: int) -> paddle.Tensor:
        self.optimizer.clear_grad()
        loss = self.loss(step)
        loss.backward()
        return loss

    def weights(self) -> dict[str, bytes]:
        return {name: tensor.numpy().tobytes() for name, tensor in self.model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that the optimizer holds, as Paddle has it, by the parameter's place in the model."""
        place = {parameter.name: i for i, parameter in enumerate(self.model.parameters())}
        for name, master in self.optimizer._master_weights.items():
            place[master.name] = place[name]
        found = {
            (slot, place[name]): tensor.numpy().tobytes()
            for slot, tensors in self.optimizer._accumulators.items()
            for name, tensor in tensors.items()
        }
        found |= {("master", place[n]): t.numpy().tobytes() for n, t in self.optimizer._master_weights.items()}
        kept = {key: value for key, value in getattr(self.optimizer, "state", {}).items() if key != "al"}
        return {**found, **{key: _bits(value) for key, value in kept.items()}}


def _bits(value: Any) -> Any:
    if isinstance(value, list):
        return [_bits(item) for item in value]
    return value.numpy().tobytes() if isinstance(value, paddle.Tensor) else value


def save(run: Run, folder: Path) -> None:
    checkpointer = CheckpointEngine(folder, "run", background=False)
    checkpointer.save(3, run.owners)
    checkpointer.close()


def restore(run: Run, folder: Path) -> Run:
    checkpointer = CheckpointEngine(folder, "run", background=False)
    try:
        assert checkpointer.restore(run.owners) is not None
    finally:
        checkpointer.close()
    return run


def assert_exact(folder: Path, **options: Any) -> Run:
    """Train on straight, and in fresh objects from a checkpoint on the way; all bits are the same."""
    straight = Run(**options)
    straight.train(0, 3)
    save(straight, folder)
    halfway = straight.state()
    straight.train(3, 6)
    paddle.nn.Linear(2, 2), Net()  # move Paddle's counter of names
    again = restore(Run(**options), folder)
    assert again.state() == halfway
    again.train(3, 6)
    assert again.weights() == straight.weights()
    assert again.state() == straight.state()
    return straight


def section_of(name: str) -> dict[str, Any]:
    return {"name": name.split(",")[0], **EVERY[name]}


# ---------------------------------------------------------------- every class


def test_every_optimizer_of_this_paddle_is_in_the_table() -> None:
    assert {name.split(",")[0] for name in HERE} == set(paddle.optimizer.__all__) - {"Optimizer", "lr"}


@pytest.mark.parametrize("name", HERE)
def test_every_optimizer_goes_on_exactly(name: str, tmp_path: Path) -> None:
    straight = assert_exact(tmp_path, **section_of(name))
    assert bool(straight.state()) == (name not in STATELESS)


@pytest.mark.parametrize("name", HERE)
def test_without_its_state_every_optimizer_that_has_any_goes_elsewhere(name: str) -> None:
    straight = Run(**section_of(name))
    straight.train(0, 3)
    again = Run(**section_of(name))
    saved = ModelState(straight.model).state_dict()
    ModelState(again.model).set_state_dict({name: np.array(saved[name]) for name in again.weights()})
    assert again.weights() == straight.weights()
    straight.train(3, 6)
    again.train(3, 6)
    assert (again.weights() == straight.weights()) == (name in STATELESS)


@pytest.mark.parametrize("name", HERE)
def test_every_optimizer_goes_on_exactly_from_before_its_first_step(name: str, tmp_path: Path) -> None:
    straight = Run(**section_of(name))
    save(straight, tmp_path)
    straight.train(0, 2)
    again = restore(Run(**section_of(name)), tmp_path)
    again.train(0, 2)
    assert again.weights() == straight.weights()
    assert again.state() == straight.state()


# ---------------------------------------------------------------- what a config adds

GROUPS = [{"match": ["features.*"], "lr_scale": 0.1, "weight_decay": 0.02}, {"match": ["norm*"], "lr_scale": 2.0}]
FEATURES: dict[str, dict[str, Any]] = {
    "groups": {"groups": GROUPS},
    "groups clipped together": {"groups": GROUPS, "clip": {"name": "ClipGradByGlobalNorm", "clip_norm": 0.05}},
    "clip by value": {"clip": {"name": "ClipGradByValue", "max": 0.01}},
    "clip by norm": {"clip": {"name": "ClipGradByNorm", "clip_norm": 0.05}},
    "clip by global norm": {"clip": {"name": "ClipGradByGlobalNorm", "clip_norm": 0.05}},
    "no weight decay for some": {"no_weight_decay": ["*.bias", "norm*"]},
    "L1 for some": {"regularization": [{"match": ["head.weight"], "name": "L1Decay", "coeff": 0.1}]},
    "tied and frozen": {"model": TiedAndFrozen, "groups": GROUPS, "no_weight_decay": ["*.bias"]},
}


def decayed(name: str, decay: float = 0.3) -> dict[str, Any]:
    return {"name": name, "lamb_weight_decay" if name == "Lamb" else "weight_decay": decay}


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", ["Momentum", "AdamW", "Lamb", "Adamax"])
def test_what_a_config_adds_to_an_optimizer_goes_on_exactly(name: str, feature: str, tmp_path: Path) -> None:
    options = {**decayed(name), **FEATURES[feature]}
    straight = assert_exact(tmp_path, **options)
    plain = Run(options.get("model", Net), **decayed(name))
    plain.train(0, 6)
    assert plain.weights() != straight.weights()  # what was asked for has had an effect


def test_several_optimizers_of_one_model_go_on_exactly(tmp_path: Path) -> None:
    class Two(Run):
        def __init__(self) -> None:
            paddle.seed(7)
            self.model = paddle.nn.LayerDict({"a": Net(), "b": Net()})
            self.optimizers = {
                "a": build(self.model["a"], name="LBFGS", max_iter=2),
                "b": build(self.model["b"], name="AdamW", groups=GROUPS, no_weight_decay=["*.bias"]),
            }

        @property
        def owners(self) -> Owners:
            return Owners(**paddle_owners(self.model, self.optimizers))

        def train(self, start: int, stop: int) -> None:
            for name, optimizer in self.optimizers.items():
                part = Run.__new__(Run)
                part.model, part.optimizer = self.model[name], optimizer
                part.train(start, stop)

    straight, again = Two(), Two()
    straight.train(0, 3)
    save(straight, tmp_path)
    straight.train(3, 5)
    restore(again, tmp_path).train(3, 5)
    assert again.weights() == straight.weights()
    assert (tmp_path / "run_step3.a.pdopt").stat().st_size > 0


def test_a_schedule_and_groups_go_on_exactly(tmp_path: Path) -> None:
    def rate() -> Any:
        return paddle.optimizer.lr.StepDecay(0.05, step_size=2)

    def stepped(run: Run, start: int, stop: int) -> Run:
        for step in range(start, stop):
            run.train(step, step + 1)
            run.optimizer._learning_rate.step()
        return run

    straight = stepped(Run(rate=rate(), name="AdamW", groups=GROUPS), 0, 3)
    save(straight, tmp_path)
    again = restore(Run(rate=rate(), name="AdamW", groups=GROUPS), tmp_path)
    assert stepped(again, 3, 6).weights() == stepped(straight, 3, 6).weights()


# ---------------------------------------------------------------- groups, decay and clipping do what they say


def after_one_step(model: type[paddle.nn.Layer] = Net, **section: Any) -> dict[str, bytes]:
    run = Run(model, **section)
    run.train(0, 1)
    return {name: bits for name, bits in run.weights().items() if not name.startswith("norm._")}


@pytest.mark.parametrize("name", GROUPED)
def test_the_learning_rate_of_a_group_reaches_every_optimizer_that_takes_groups(name: str) -> None:
    before = Run(name=name).weights()
    plain = after_one_step(name=name)
    scaled = after_one_step(name=name, groups=[{"match": ["features.*"], "lr_scale": 0.0}])
    for parameter, bits in scaled.items():
        assert bits == (before if parameter.startswith("features.") else plain)[parameter], parameter
        assert plain[parameter] != before[parameter]


@pytest.mark.parametrize("name", [name for name in GROUPED if name != "SGD"])
def test_parameters_without_weight_decay_move_as_if_there_were_none(name: str) -> None:
    without, full = after_one_step(**decayed(name, 0.0)), after_one_step(**decayed(name, 5.0))
    some = after_one_step(**decayed(name, 5.0), no_weight_decay=["*.weight"])
    for parameter in some:
        assert some[parameter] == (without if parameter.endswith(".weight") else full)[parameter], parameter
    assert without["head.weight"] != full["head.weight"]


def test_a_config_builds_what_one_would_write_with_paddle_itself() -> None:
    paddle.seed(7)
    model = Net()
    features, norm = model.features.parameters(), model.norm.parameters()
    groups = [
        {"params": features, "learning_rate": 0.1, "weight_decay": 0.02},
        {"params": norm, "learning_rate": 2.0},
        {"params": model.head.parameters()},
    ]
    run = Run(name="AdamW", weight_decay=0.3, groups=GROUPS, beta1=0.8)
    by_hand = Run.__new__(Run)
    by_hand.model = model
    by_hand.optimizer = paddle.optimizer.AdamW(0.05, parameters=groups, weight_decay=0.3, beta1=0.8)
    run.train(0, 4)
    by_hand.train(0, 4)
    assert run.weights() == by_hand.weights()


def test_the_global_norm_is_that_of_all_groups_together() -> None:
    clip = {"name": "ClipGradByGlobalNorm", "clip_norm": 0.05}
    alike = [{"match": ["features.*"], "weight_decay": 0.0}]  # SGD without decay: a group that changes nothing
    alone, grouped = Run(name="SGD", clip=clip), Run(name="SGD", clip=clip, groups=alike)
    stock = Run(name="SGD")
    by_groups = parameter_groups(stock.model, alike)
    stock.optimizer = paddle.optimizer.SGD(0.05, by_groups, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.05))
    for run in (alone, grouped, stock):
        run.train(0, 3)
    assert grouped.weights() == alone.weights()
    assert stock.weights() != alone.weights()  # Paddle's own measures each group by itself


def test_a_clip_across_groups_forgets_a_step_that_broke_off() -> None:
    model = paddle.nn.LayerList([paddle.nn.Linear(1, 1, bias_attr=False) for _ in range(2)])
    first, second = model.parameters()
    clip = ClipAcrossGroups(paddle.nn.ClipGradByGlobalNorm(1.0), [first, second])

    def clipped(scale: float, groups: int) -> list[float]:
        for parameter in (first, second):
            parameter.clear_gradient()
        (scale * (first + second)).sum().backward()
        return [clip([(p, p.grad)])[0][1].item() for p in (first, second)[:groups]]

    clipped(3.0, groups=1)  # the second group never came
    assert clipped(-3.0, groups=2) == pytest.approx([-(0.5**0.5)] * 2)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "LBFGS"])
def test_a_regularizer_reaches_its_parameter_and_no_other(name: str) -> None:
    plain = after_one_step(name=name)
    rule = {"match": ["head.weight"], "name": "L1Decay", "coeff": 3.0}
    regularized = after_one_step(name=name, regularization=[rule])
    assert {parameter for parameter in plain if plain[parameter] != regularized[parameter]} == {"head.weight"}


class WithAttributes(Net):
    """A layer with a learning rate and a regularizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        attribute = paddle.ParamAttr(learning_rate=0.5, regularizer=L1Decay(3.0))
        paddle.seed(3)
        self.head = paddle.nn.Linear(4, 4, weight_attr=attribute)


def test_what_a_layer_was_built_with_stays_unless_a_group_says_otherwise() -> None:
    own = after_one_step(WithAttributes, name="SGD", weight_decay=0.1)
    elsewhere = {"match": ["features.*"], "lr_scale": 0.1}
    assert (
        after_one_step(WithAttributes, name="SGD", weight_decay=0.1, groups=[elsewhere])["head.weight"]
        == (own["head.weight"])
    )
    model = WithAttributes()
    build(model, name="SGD", weight_decay=0.1, groups=[{"match": ["head.*"], "lr_scale": 2.0, "weight_decay": 0.0}])
    assert model.head.weight.optimize_attr["learning_rate"] == 2.0
    assert isinstance(model.head.weight.regularizer, L2Decay)


def test_the_first_group_that_matches_counts_and_the_rest_is_the_last_group() -> None:
    model = TiedAndFrozen()
    groups = parameter_groups(model, [{"match": ["head.*"], "lr_scale": 0.5}, {"match": ["*.bias"], "lr_scale": 0.1}])
    # The tied weight is found by either of its names.
    assert [[p is model.features[0].weight for p in group["params"]] for group in groups] == [
        [True, False],
        [False, False, False],
        [False, False, False, False],  # a weight, and what a norm layer counts as parameters too
    ]
    assert groups[0]["params"][1] is model.head.bias
    assert [group.get("learning_rate") for group in groups] == [0.5, 0.1, None]
    assert sum(len(group["params"]) for group in groups) == len(model.parameters())


def test_the_helpers_work_without_a_config() -> None:
    paddle.seed(7)
    model = Net()
    groups = parameter_groups(model, GROUPS, no_weight_decay=["*.bias"])
    clip = ClipAcrossGroups(paddle.nn.ClipGradByGlobalNorm(0.05), model.parameters())
    by_hand = Run.__new__(Run)
    by_hand.model = model
    by_hand.optimizer = paddle.optimizer.Momentum(0.05, parameters=groups, weight_decay=0.3, grad_clip=clip)
    regularize(model, [{"match": ["head.weight"], "regularizer": L1Decay(0.1)}])
    run = Run(
        **{**decayed("Momentum"), **FEATURES["groups clipped together"], **FEATURES["L1 for some"]},
        no_weight_decay=["*.bias"],
    )
    run.train(0, 3)
    by_hand.train(0, 3)
    assert run.weights() == by_hand.weights()


# ---------------------------------------------------------------- what cannot be is told at once

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a pattern that matches nothing": (
        {"name": "AdamW", "groups": [{"match": ["feature.*"], "lr_scale": 0.1}]},
        r"optimizer\.groups\.0\.match: feature\.\* matches no parameter of the model; .* did you mean features\.",
    ),
    "a pattern that is like nothing": (
        {"name": "AdamW", "no_weight_decay": ["zzz"]},
        r"optimizer\.no_weight_decay: zzz matches no parameter .* its parameters are features\.0\.weight, ",
    ),
    "a regularizer's pattern": (
        {"name": "SGD", "regularization": [{"match": ["hed.weight"], "name": "L1Decay"}]},
        r"optimizer\.regularization\.0\.match: hed\.weight matches no .* did you mean head\.weight",
    ),
    "a group that is left with nothing": (
        {"name": "SGD", "groups": [{"match": ["head.*"]}, {"match": ["head.bias"]}]},
        r"optimizer\.groups\.1\.match: \[head\.bias\] matches only parameters that an earlier group has",
    ),
    "decay for an optimizer without any": (
        {"name": "Lamb", "weight_decay": 0.1},
        r"optimizer\.weight_decay: 0\.1 cannot be used with Lamb: it has no such argument; write lamb_weight_decay",
    ),
    "a regularizer for AdamW's decay": (
        {"name": "AdamW", "weight_decay": {"name": "L1Decay", "coeff": 0.1}},
        r"optimizer\.weight_decay: \{name: L1Decay, coeff: 0\.1\} cannot be used with AdamW: .*; give a number",
    ),
    "a regularizer for the decay of a group of AdamW": (
        {"name": "AdamW", "groups": [{"match": ["*"], "weight_decay": {"name": "L2Decay"}}]},
        r"optimizer\.groups\.0\.weight_decay: \{name: L2Decay\} cannot be used with AdamW",
    ),
    "L2 beside AdamW's own decay": (
        {"name": "AdamW", "regularization": [{"match": ["*"], "name": "L2Decay", "coeff": 0.1}]},
        r"optimizer\.regularization\.0: .* cannot be used with AdamW: .* use optimizer\.groups with weight_decay",
    ),
    "no decay to be without": (
        {"name": "Adam", "no_weight_decay": ["*.bias"]},
        r"optimizer\.no_weight_decay: \['\*\.bias'\] cannot be used with Adam: .*; set optimizer\.weight_decay",
    ),
    "a decay that is no number": (
        {"name": "Adam", "weight_decay": "much"},
        r"optimizer\.weight_decay is much; expected a number, or a regularizer such as",
    ),
    "a function": (
        {"name": "AdamW", "apply_decay_param_fun": "f"},
        r"optimizer\.apply_decay_param_fun: f cannot be used .* use optimizer\.no_weight_decay instead",
    ),
    "an object": (
        {"name": "SGD", "grad_clip": {"name": "ClipGradByNorm"}},
        r"optimizer\.grad_clip: .* use optimizer\.clip instead",
    ),
    "an unknown clip": (
        {"name": "SGD", "clip": {"name": "ClipGradByNorms", "clip_norm": 1.0}},
        r"optimizer\.clip\.name: ClipGradByNorms is not known; .* did you mean ClipGradByNorm\?",
    ),
    "a clip without its argument": (
        {"name": "SGD", "clip": {"name": "ClipGradByNorm"}},
        r"optimizer\.clip: ClipGradByNorm cannot take these arguments: missing a required argument: 'clip_norm'",
    ),
    "an unknown regularizer": (
        {"name": "SGD", "regularization": [{"match": ["*"], "name": "L3Decay"}]},
        r"optimizer\.regularization\.0\.name: L3Decay is not known; .* did you mean L",
    ),
    "LBFGS with groups": (
        {"name": "LBFGS", "groups": [{"match": ["*"], "lr_scale": 0.1}]},
        r"optimizer\.groups: .* cannot be used with LBFGS: .* ignore it without a word; leave groups out",
    ),
    "LBFGS with a clip": (
        {"name": "LBFGS", "clip": {"name": "ClipGradByNorm", "clip_norm": 1.0}},
        r"optimizer\.clip: \{name: ClipGradByNorm, clip_norm: 1\.0\} cannot be used with LBFGS",
    ),
    "LBFGS with decay": (
        {"name": "LBFGS", "weight_decay": 0.1},
        r"optimizer\.weight_decay: 0\.1 cannot be used with LB",
    ),
    "LBFGS with a schedule": (
        {"name": "LBFGS", "lr": {"name": "StepDecay", "step_size": 3}},
        r"optimizer\.lr: .* cannot be used with LBFGS: it takes a number and no schedule",
    ),
}
OF_RPROP = {
    "Rprop with groups": (
        {"name": "Rprop", "groups": [{"match": ["*"], "lr_scale": 0.1}]},
        r"optimizer\.groups: .* cannot be used with Rprop: it keeps a learning rate for each single weight",
    ),
    "Rprop with a schedule": (
        {"name": "Rprop", "lr": {"name": "StepDecay", "step_size": 3}},
        r"optimizer\.lr: .* cannot be used with Rprop: .*; give a number",
    ),
    "Rprop with decay": (
        {"name": "Rprop", "weight_decay": 0.1},
        r"optimizer\.weight_decay: 0\.1 cannot be used with Rprop: it has no such argument; leave it out",
    ),
}
if hasattr(paddle.optimizer, "Rprop"):
    REFUSED |= OF_RPROP


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_paragraph(case: str) -> None:
    section, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as caught:
        Run(**section)
    assert "\n" not in str(caught.value) or "its signature" in str(caught.value)


def test_what_needs_no_model_is_refused_before_there_is_one() -> None:
    with pytest.raises(ConfigError, match="Lamb"):
        check_optimizer(Section.model_validate({"name": "Lamb", "weight_decay": 0.1}))


# ---------------------------------------------------------------- what an optimizer was built with is compared


@pytest.mark.parametrize("name", HERE)
def test_a_step_changes_nothing_of_what_an_optimizer_was_built_with(name: str) -> None:
    options = {} if name.startswith(("LBFGS", "Rprop")) else {"groups": [{"match": ["head.*"], "lr_scale": 0.5}]}
    run = Run(**section_of(name), **options)
    names = ParameterNames(run.model)
    before = OptimizerSettings(run.optimizer, names).state_dict()
    run.train(0, 2)
    assert OptimizerSettings(run.optimizer, names).state_dict() == before


def test_another_group_clip_or_regularizer_stops_a_resume_and_is_named(tmp_path: Path) -> None:
    then: dict[str, Any] = {"name": "AdamW", **FEATURES["groups clipped together"]}
    save(Run(**then), tmp_path)
    changed = {
        "groups": [{"match": ["features.*"], "lr_scale": 0.2, "weight_decay": 0.02}, GROUPS[1]],
        "clip": {"name": "ClipGradByGlobalNorm", "clip_norm": 0.06},
        "regularization": [{"match": ["head.weight"], "name": "L1Decay", "coeff": 0.1}],
    }
    with pytest.raises(InexactResumeError) as caught:
        restore(Run(**{**then, **changed}), tmp_path)
    for part in (
        "'clip_norm': 0.05",
        "'clip_norm': 0.06",
        "learning rate x 0.1: features.0.weight, features.0.bias, features.2.weight and 1 more -> none",
        "learning rate x 0.2: none -> features.0.weight, features.0.bias, features.2.weight and 1 more",
        "L1Decay 0.1: none -> head.weight",
    ):
        assert part in str(caught.value)


# ---------------------------------------------------------------- master weights


def _half(layer: type[paddle.nn.Layer] = paddle.nn.Linear) -> paddle.nn.Layer:
    model = layer(3, 3)
    model.to(dtype="bfloat16")
    return model


class Half(Run):
    """bfloat16 parameters, as far as Paddle has kernels for them on a CPU."""

    def __init__(self, name: str) -> None:
        paddle.seed(7)
        self.model = _half()
        self.optimizer = build(self.model, name=name, multi_precision=True)

    def loss(self, step: int) -> paddle.Tensor:
        return sum(((p.astype("float32") - step) ** 2).sum() for p in self.model.parameters())


@pytest.mark.parametrize("name", [name for name in ("SGD", "Rprop") if name in HERE])
def test_master_weights_and_the_state_that_belongs_to_them_go_on_exactly(name: str, tmp_path: Path) -> None:
    straight, again = Half(name), Half(name)
    straight.train(0, 3)
    assert any(key[0] == "master" for key in straight.state())
    save(straight, tmp_path)
    straight.train(3, 6)
    restore(again, tmp_path).train(3, 6)
    assert again.weights() == straight.weights()
    assert again.state() == straight.state()


@pytest.mark.parametrize("name", [name for name in ("Adam", "AdamW", "Momentum", "Lamb") if name in HERE])
def test_state_of_master_weights_is_bound_by_name_where_no_step_can_be_made(name: str, tmp_path: Path) -> None:
    # On a CPU Paddle makes this state but has no kernel for the step, so here it is filled by hand.
    straight, again = Half(name), Half(name)
    block = paddle.static.default_main_program().global_block()
    straight.optimizer.helper = paddle.base.layer_helper.LayerHelper(name)
    straight.optimizer._create_accumulators(block, straight.model.parameters())
    for i, tensors in enumerate([*straight.optimizer._accumulators.values(), straight.optimizer._master_weights]):
        for j, tensor in enumerate(tensors.values()):
            tensor.set_value(paddle.full(tensor.shape, 1 + i + 10 * j, tensor.dtype))
    save(straight, tmp_path)
    assert restore(again, tmp_path).state() == straight.state() != {}
    keys = OptimizerState(straight.optimizer, ParameterNames(straight.model)).state_dict()
    assert set(keys) == set(straight.optimizer.state_dict())  # Paddle's own names


# ---------------------------------------------------------------- LBFGS


def test_lbfgs_refuses_the_state_of_other_parameters(tmp_path: Path) -> None:
    run = Run(name="LBFGS", max_iter=2)
    run.train(0, 2)
    save(run, tmp_path)
    other = Run(name="LBFGS", max_iter=2)
    other.optimizer = paddle.optimizer.LBFGS(0.05, max_iter=2, parameters=other.model.parameters()[::-1])
    with pytest.raises(CheckpointError, match=r"over the parameters features\.0\.weight, .* here they are head\.bias"):
        restore(other, tmp_path)


def test_lbfgs_names_every_tensor_that_does_not_fit() -> None:
    run, again = Run(name="LBFGS", max_iter=2), Run(name="LBFGS", max_iter=2)
    run.train(0, 2)
    numbers, then = (LBFGSNumbers(each.optimizer, ParameterNames(each.model)) for each in (run, again))
    state = {f"state/{name}": np.array(array) for name, array in LBFGSHistory(numbers).state_dict()["state"].items()}
    state["state/d"] = np.zeros(5, np.float32)
    state["state/e"] = state.pop("state/old_yk.0")
    then.set_state_dict(numbers.state_dict())
    with pytest.raises(CheckpointError) as caught:
        LBFGSHistory(then).set_state_dict(state)
    for part in ("d has shape [5] in the file", "old_yk.0 is missing in the file", "e is unknown to the optimizer"):
        assert part in str(caught.value)
    assert not again.optimizer.state


# ---------------------------------------------------------------- as real processes, from YAML

RICH = """
run: {{name: rich, device: cpu}}
model: {{name: MLP, hidden: 8, dropout: 0.2}}
data: {{name: mnist, root: {root}, global_batch_size: 5}}
optimizer:
  name: AdamW
  lr: {{name: CosineAnnealingDecay, learning_rate: 0.01, T_max: auto}}
  weight_decay: 0.1
  clip: {{name: ClipGradByGlobalNorm, clip_norm: 0.5}}
  no_weight_decay: ["*.bias"]
  groups: [{{match: ["hidden.*"], lr_scale: 0.1, weight_decay: 0.02}}]
  regularization: [{{match: ["output.weight"], name: L1Decay, coeff: 0.001}}]
trainer: {{epochs: 1, log_every: 2}}
checkpoint: {{every_steps: 3, background: false}}
"""


def test_a_killed_run_of_a_rich_config_ends_as_if_untouched(tiny_mnist: Path, tmp_path: Path) -> None:
    config = tmp_path / "rich.yaml"
    config.write_text(RICH.format(root=tiny_mnist))
    program = ["-m", "paddle_resume", "train", "-c", str(config), "-q"]
    for key, value in {"save_dir": "checkpoint", "log_dir": "log", "model_path": "rich.pdparams"}.items():
        program += ["-o", f"run.{key}={{folder}}/{value}"]
    assert_exact_resume(program, tmp_path / "proof", [Kill("step", 5)])
    # Inline saves are there when the kill comes, so the run did go on from one and not from its start.
    record = json.loads((tmp_path / "proof" / "killed" / "checkpoint" / "rich_epoch0.pdstates").read_text())
    assert [(event["event"], event.get("from")) for event in record["lineage"]][1:] == [("resume", "rich_step3")]
