"""Metrics: right values, the same for every cut of the data and after a resume, and plain words when they fail."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import paddle
import pytest
import sklearn.metrics as reference
import xxhash
from forking import assert_exact_resume
from PIL import Image

from paddle_resume.checkpoint.engine import CheckpointEngine
from paddle_resume.checkpoint.record import decode_state, encode_state
from paddle_resume.cli import main
from paddle_resume.errors import ConfigError, DataError
from paddle_resume.loggers import JsonlLogger, VisualDLLogger, read_images
from paddle_resume.metrics import (
    F1,
    Accuracy,
    Auc,
    ConfusionMatrix,
    Precision,
    Recall,
    RunningMetrics,
    TopK,
    evaluation_tags,
)
from paddle_resume.metrics.confusion_picture import draw_confusion_matrix
from paddle_resume.metrics.counts import ConfusionCounts
from paddle_resume.testing import Kill, first_differences
from paddle_resume.training.run_console import _figures

LOSS = paddle.to_tensor(0.5)
DRAW = np.random.RandomState(7)
CLASSES = 5
LABELS = DRAW.randint(0, CLASSES, 240)
LOGITS = (DRAW.randn(240, CLASSES) + 1.5 * np.eye(CLASSES)[LABELS]).astype("float32")
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
BEST = LOGITS.argmax(1)
YES = DRAW.randint(0, 2, 240)
ODDS = (DRAW.randn(240) + 1.2 * YES).astype("float32")
CHANCE = (1 / (1 + np.exp(-ODDS))).astype("float32")

MANY = (LOGITS, LABELS)
ONE = (ODDS, YES)
PROBABILITIES = (np.stack([1 - CHANCE, CHANCE], 1), YES)

# Each metric with (outputs, labels) that it can take.
ALL = {
    "Accuracy": (lambda: Accuracy(), MANY),
    "Accuracy of one score": (lambda: Accuracy(), ONE),
    "TopK": (lambda: TopK(3), MANY),
    **{f"Precision {a}": (lambda a=a: Precision(a), MANY) for a in ("macro", "micro", "weighted", "none")},
    **{f"Recall {a}": (lambda a=a: Recall(a), MANY) for a in ("macro", "micro", "weighted", "none")},
    **{f"F1 {a}": (lambda a=a: F1(a), MANY) for a in ("macro", "micro", "weighted", "none")},
    "F1 of one score": (lambda: F1(), ONE),
    **{f"Auc {a}": (lambda a=a: Auc(a), MANY) for a in ("macro", "weighted", "none")},
    "Auc of one score": (lambda: Auc(), ONE),
    "Auc of probabilities": (lambda: Auc(from_logits=False), PROBABILITIES),
    "ConfusionMatrix": (lambda: ConfusionMatrix(), MANY),
    "paddle Accuracy": (lambda: paddle.metric.Accuracy(topk=(1, 3)), MANY),
    "paddle Precision": (lambda: paddle.metric.Precision(), (CHANCE, YES)),
    "paddle Recall": (lambda: paddle.metric.Recall(), (CHANCE, YES)),
    "paddle Auc": (lambda: paddle.metric.Auc(), PROBABILITIES),
}
OWN = [name for name in ALL if not name.startswith("paddle")]


def running(*metrics, split="train"):
    for metric in metrics:
        metric.splits = ("train", "valid", "test")
    return RunningMetrics(metrics, split)


def feed(metrics, outputs, labels, size=32):
    """Give the data to the metrics in batches of `size`, labels as [B, 1], as datasets give them."""
    for start in range(0, len(outputs), size):
        part = slice(start, start + size)
        label = paddle.to_tensor(labels[part]).reshape([len(labels[part]), *labels.shape[1:], 1])
        metrics.update(start, LOSS, paddle.to_tensor(outputs[part]), label, len(outputs[part]))
    return metrics


def bits(metrics):
    """Everything the metrics tell, as bytes."""
    pictures = [name.encode() + picture.tobytes() for name, picture in metrics.pictures().items()]
    values = [name.encode() + np.float64(value).tobytes() for name, value in metrics.results().items()]
    return b"".join([*values, *pictures])


def value(metric, outputs, labels):
    results = feed(running(metric), outputs, labels).results()
    del results["loss"]
    return next(iter(results.values())) if len(results) == 1 else list(results.values())


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "none"])
@pytest.mark.parametrize(("metric", "theirs"), [("Precision", "precision"), ("Recall", "recall"), ("F1", "f1")])
def test_averages_over_many_classes_are_those_of_scikit_learn(metric, theirs, average):
    expected = getattr(reference, f"{theirs}_score")(
        LABELS, BEST, average=None if average == "none" else average, zero_division=0
    )
    assert value({"Precision": Precision, "Recall": Recall, "F1": F1}[metric](average), *MANY) == pytest.approx(
        expected, rel=1e-14
    )


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(("metric", "theirs"), [(Precision, "precision"), (Recall, "recall"), (F1, "f1")])
def test_of_one_score_a_sample_class_1_counts_above_the_threshold(metric, theirs, threshold):
    expected = getattr(reference, f"{theirs}_score")(YES, threshold < CHANCE)
    assert value(metric(threshold=threshold), *ONE) == pytest.approx(expected, rel=1e-14)
    assert value(metric(threshold=threshold, from_logits=False), CHANCE, YES) == pytest.approx(expected, rel=1e-14)


def test_of_two_classes_with_a_score_each_class_1_is_the_positive_one():
    two = np.stack([np.zeros_like(ODDS), ODDS], 1)
    assert value(Recall(), two, YES) == value(Recall(), *ONE) == reference.recall_score(YES, ODDS > 0)
    assert value(Auc(), two, YES) == pytest.approx(value(Auc(), *ONE), abs=1e-12)


def test_accuracy_top_k_and_the_confusion_matrix_are_those_of_scikit_learn():
    assert value(Accuracy(), *MANY) == reference.accuracy_score(LABELS, BEST)
    assert value(Accuracy(), *ONE) == reference.accuracy_score(YES, ODDS > 0)
    for k in (1, 2, 4):
        assert value(TopK(k), *MANY) == reference.top_k_accuracy_score(LABELS, LOGITS, k=k)
    matrix = ConfusionMatrix()
    feed(running(matrix), *MANY)
    assert (matrix.accumulate() == reference.confusion_matrix(LABELS, BEST)).all()


def test_auc_is_that_of_scikit_learn_within_its_margin_and_the_margin_is_narrow():
    for average in ("macro", "weighted"):
        metric = Auc(average)
        found = value(metric, *MANY)
        expected = reference.roc_auc_score(LABELS, SHARES, multi_class="ovr", average=average)
        assert abs(found - expected) <= metric.margin() < 1e-3
    coarse = Auc(bins=64)
    assert abs(value(coarse, *ONE) - reference.roc_auc_score(YES, ODDS)) <= coarse.margin()
    assert coarse.margin() > 1e-3


def test_auc_is_exact_where_no_bin_holds_both_kinds():
    scores = np.linspace(-8, 8, 240).astype("float32")
    metric = Auc()
    assert value(metric, scores, YES) == pytest.approx(reference.roc_auc_score(YES, scores), rel=1e-14)
    assert metric.margin() == 0


def test_auc_tells_apart_the_scores_of_a_sure_network_which_equal_steps_of_probability_would_not():
    sure = (np.where(YES, 12, 11) + DRAW.rand(240)).astype("float32")  # all of them 0.9999 and more
    assert value(Auc(), sure, YES) == pytest.approx(reference.roc_auc_score(YES, sure), abs=1e-3)


def test_a_class_that_never_occurs_counts_as_scikit_learn_counts_it():
    few = np.minimum(LABELS, 2)
    assert value(F1("macro"), LOGITS[:, :4], few) == pytest.approx(
        reference.f1_score(few, LOGITS[:, :4].argmax(1), average="macro"), rel=1e-14
    )
    assert value(Precision("none"), np.eye(3, dtype="float32")[[0, 0, 1]], np.array([0, 0, 1])) == [1.0, 1.0, 0.0]


def test_nothing_that_came_in_is_zero_or_no_value_and_an_auc_without_both_kinds_is_nan():
    empty = running(Accuracy(), TopK(), F1(), Auc("none"), ConfusionMatrix()).results()
    assert empty == {"acc": 0.0, "top5": 0.0, "f1": 0.0}
    assert np.isnan(value(Auc(), ODDS, np.ones(240, np.int64)))


def test_of_equal_scores_the_first_class_is_the_predicted_one_everywhere():
    level, zero = np.zeros((4, 3), "float32"), np.array([0, 0, 1, 2])
    assert value(Accuracy(), level, zero) == value(TopK(1), level, zero) == value(F1("micro"), level, zero) == 0.5
    assert value(TopK(2), level, zero) == 0.75


def test_a_score_that_is_nan_is_never_counted_as_right():
    assert value(TopK(2), np.array([[0, np.nan, 1]], "float32"), np.array([0])) == 0.0
    assert value(TopK(1), np.full((2, 3), np.nan, "float32"), np.array([1, 2])) == 0.0
    assert value(Auc(), np.array([np.nan, 1.0], "float32"), np.array([1, 0])) == 0.0


# ---------------------------------------------------------------- shapes


def sequences(values):
    return values.reshape(24, 10, *values.shape[1:])


@pytest.mark.parametrize("name", OWN)
def test_a_sequence_counts_as_its_single_predictions(name):
    make, (outputs, labels) = ALL[name]
    flat, deep = running(make()), running(make())
    feed(flat, outputs, labels)
    outputs = outputs if outputs.ndim == 2 else outputs[:, None]
    feed(deep, sequences(outputs), sequences(labels), size=5)
    assert bits(flat) == bits(deep)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_labels_may_have_any_integer_type_and_one_axis(name, dtype):
    make, (outputs, labels) = ALL[name]
    other = running(make())
    for part in (slice(0, 100), slice(100, 240)):
        samples = len(labels[part])
        other.update(0, LOSS, paddle.to_tensor(outputs[part]), paddle.to_tensor(labels[part].astype(dtype)), samples)
    assert bits(other) == bits(feed(running(make()), outputs, labels, size=100))


@pytest.mark.parametrize("name", OWN)
def test_outputs_that_stay_on_their_device_give_the_same_bits(name, monkeypatch):
    make, data = ALL[name]
    fetched = feed(running(make()), *data)
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")  # then Paddle looks for the highest score
    assert bits(feed(running(make()), *data)) == bits(fetched)


def test_labels_of_one_score_may_be_floats_as_its_loss_wants_them():
    assert value(F1(), ODDS[:, None], YES.astype("float32")) == value(F1(), *ONE)


@pytest.mark.parametrize("name", [name for name in OWN if "one score" not in name and "probabilities" not in name])
def test_padding_is_left_out_by_its_label(name):
    kind = type(ALL[name][0]())
    options = {"average": ALL[name][0]().average} if hasattr(ALL[name][0](), "average") else {}
    padded = np.where(np.arange(240) % 3 == 0, -100, LABELS)
    kept = padded != -100
    with_padding = running(kind(**options, ignore_index=-100))
    feed(with_padding, sequences(LOGITS), sequences(padded))
    without = feed(running(kind(**options)), LOGITS[kept], LABELS[kept])
    assert bits(with_padding) == bits(without)


def test_an_output_in_bfloat16_is_read_as_the_numbers_it_holds():
    output = paddle.to_tensor(LOGITS).astype("bfloat16")
    metrics = running(Accuracy(), TopK(2))
    metrics.update(0, LOSS, output, paddle.to_tensor(LABELS), 240)
    back = output.astype("float32").numpy()
    assert metrics.results()["acc"] == reference.accuracy_score(LABELS, back.argmax(1))
    assert metrics.results()["top2"] == value(TopK(2), back, LABELS)


def update(metric, output, label):
    running(metric).update(0, LOSS, paddle.to_tensor(output), paddle.to_tensor(label), len(output))


REFUSED = {
    "one-hot labels": (F1, LOGITS, np.eye(5)[LABELS], ConfigError, "One-hot and soft labels are not read"),
    "classes not last": (Accuracy, np.zeros((4, 5, 7), "float32"), np.zeros((4, 7), int), ConfigError, "last axis"),
    "other length": (Accuracy, LOGITS, LABELS[:9], ConfigError, "labels [9] do not fit an output [240, 5]"),
    "regression": (Accuracy, ODDS[:, None], ODDS[:, None], DataError, "For a regression write `metrics: []`"),
    "label too high": (F1, LOGITS, LABELS + 1, DataError, "the label 5 is none of the output's 5 classes, 0..4"),
    "negative label": (TopK, LOGITS, LABELS - 1, DataError, "ignore_index: -1"),
    "padding": (Accuracy, LOGITS[None], np.where(LABELS, LABELS, -100)[None], DataError, "ignore_index: -100"),
    "top-k of one score": (TopK, ODDS, YES, ConfigError, "one score a sample"),
    "logits called probabilities": (
        lambda: F1(from_logits=False), ODDS, YES, ConfigError, "set from_logits: true, or end the model with a sigmoid",
    ),
    "probabilities called logits": (Auc, SHARES, LABELS, ConfigError, "Set its from_logits: false."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_paragraph(case):
    kind, output, label, error, text = REFUSED[case]
    with pytest.raises(error) as caught:
        update(kind(), output, label)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: F1("mean"), "F1 has no average 'mean'; expected one of auto, macro, micro, weighted, binary, none."),
        (lambda: Auc("micro"), "Auc has no average 'micro'; expected one of macro, weighted, none."),
        (lambda: Auc(bins=1), "a whole number of 2 or more as bins, found 1"),
        (lambda: TopK(0), "a whole number of 1 or more as k, found 0"),
        (lambda: Precision(threshold=0), "threshold is 0; expected a probability between 0 and 1"),
        (lambda: RunningMetrics([F1(), F1("macro")]), "two values are called f1"),
        (lambda: RunningMetrics([Accuracy("loss")]), "two values are called loss"),
        (lambda: value(TopK(6), *MANY), "TopK with k: 6 needs as many classes, and the output has 5"),
        (lambda: value(F1("binary"), *MANY), "needs two classes, and the output has 5"),
        (lambda: running(F1()).update(0, LOSS, [LOSS], LOSS, 1), "the output is a list, and these metrics need one"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build, text):
    with pytest.raises(ConfigError) as caught:
        build()
    assert text in str(caught.value)


@pytest.mark.parametrize("kind", [TopK, F1, Auc])
def test_a_number_of_classes_that_changes_is_refused(kind):
    metrics = feed(running(kind()), *MANY)
    with pytest.raises(ConfigError, match="has 4 classes in this batch, and had another number of them before"):
        feed(metrics, LOGITS[:, :4], np.minimum(LABELS, 3))


# ---------------------------------------------------------------- Paddle's own


def test_paddles_own_metrics_give_what_scikit_learn_gives():
    assert value(paddle.metric.Accuracy(), *MANY) == reference.accuracy_score(LABELS, BEST)
    sides = (YES, CHANCE > 0.5)
    assert value(paddle.metric.Precision(), CHANCE, YES) == reference.precision_score(*sides)
    assert value(paddle.metric.Recall(), CHANCE, YES) == reference.recall_score(*sides)
    assert value(paddle.metric.Auc(), *PROBABILITIES) == pytest.approx(reference.roc_auc_score(YES, CHANCE), abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "output", "label", "text"),
    [
        (paddle.metric.Precision(), LOGITS, LABELS, "paddle.metric.Precision is for two classes"),
        (paddle.metric.Recall(), ODDS, YES, "takes probabilities in 0..1, and the output reaches from -"),
        (paddle.metric.Auc(), SHARES, LABELS, "is for two classes and takes their probabilities, [N, 2]"),
        (paddle.metric.Auc(), np.stack([-ODDS, ODDS], 1), YES, "takes probabilities in 0..1"),
        (paddle.metric.Auc(curve="PR"), *PROBABILITIES, "the area under the ROC curve also with curve: PR"),
        (paddle.metric.Accuracy(), ODDS[:, None], YES, "needs a score for each of 2 classes"),
        (paddle.metric.Accuracy(topk=(1, 6)), LOGITS, LABELS, "needs a score for each of 6 classes"),
        (paddle.metric.Accuracy(), np.zeros((5, 5, 5), "float32"), np.zeros((5, 5), int), "as [N, T, 1]"),
    ],
)
def test_what_paddles_own_metrics_would_count_wrongly_is_refused(metric, output, label, text):
    with pytest.raises(ConfigError) as caught:
        update(metric, output, label)
    assert text in str(caught.value)
    assert "Use this package's own" in str(caught.value)


def test_a_metric_that_fails_is_named_with_the_shapes():
    class Broken(Accuracy):
        def update(self, *args):
            raise ValueError("no such\nthing")

    with pytest.raises(ConfigError, match=r"Broken cannot take an output \[240, 5\] .* ValueError: no such thing"):
        update(Broken(), *MANY)


# ---------------------------------------------------------------- exactness


@pytest.mark.parametrize("name", OWN)
def test_neither_the_cut_nor_the_order_of_the_data_changes_a_bit(name):
    make, (outputs, labels) = ALL[name]
    order = np.random.RandomState(1).permutation(len(labels))
    cuts = [feed(running(make()), outputs, labels, size) for size in (1, 7, 240)]
    cuts.append(feed(running(make()), outputs[order], labels[order], 50))
    assert len({bits(metrics) for metrics in cuts}) == 1


def halves(name):
    make, (outputs, labels) = ALL[name]
    half = 4 * 32
    untouched = feed(feed(running(make()), outputs[:half], labels[:half]), outputs[half:], labels[half:])
    before = feed(running(make()), outputs[:half], labels[:half])
    return make, untouched, before, (outputs[half:], labels[half:])


def plain(metrics):
    return encode_state("metrics", metrics.state_dict())


@pytest.mark.parametrize("name", ALL)
def test_a_resume_in_the_middle_ends_with_the_bits_of_an_untouched_pass(name, tmp_path):
    make, untouched, before, rest = halves(name)
    after = running(make())
    checkpointer = CheckpointEngine(tmp_path, "m", background=False)
    checkpointer.save(1, {"metrics": before})
    checkpointer.restore({"metrics": after})
    checkpointer.close()
    assert plain(after) == plain(before)
    feed(after, *rest)
    assert bits(after) == bits(untouched)
    assert plain(after) == plain(untouched)


@pytest.mark.parametrize("name", ALL)
def test_a_pass_whose_first_half_is_forgotten_is_seen_to_differ(name):
    make, untouched, _, rest = halves(name)
    forgotten = feed(running(make()), *rest)
    assert plain(forgotten) != plain(untouched)
    assert bits(forgotten) != bits(untouched)


def test_all_metrics_together_go_on_after_a_resume_as_each_alone_does():
    kinds = [Accuracy, TopK, Precision, Recall, F1, Auc, ConfusionMatrix]
    before = feed(running(*(kind() for kind in kinds)), LOGITS[:128], LABELS[:128])
    after = running(*(kind() for kind in kinds))
    after.set_state_dict(decode_state(plain(before)))
    feed(after, LOGITS[128:], LABELS[128:])
    alone = [feed(running(kind()), *MANY) for kind in kinds]
    assert after.results() == {name: number for one in alone for name, number in one.results().items()}
    assert after.pictures()["confusion_matrix"].tobytes() == alone[-1].pictures()["confusion_matrix"].tobytes()


def test_other_arguments_are_a_difference_and_with_leave_start_anew_while_the_rest_goes_on():
    before = feed(running(Accuracy(), F1("macro"), Auc()), *MANY)
    after = running(Accuracy(), F1("macro", threshold=0.4), Auc())
    state = decode_state(plain(before))
    assert str(after.differences(state)[0]).startswith("metrics: Accuracy ")
    after.set_state_dict(state)
    then, now = before.results(), after.results()
    assert (now["acc"], now["f1"], now["auc"]) == (then["acc"], 0.0, then["auc"])


def test_the_names_of_classes_and_metrics_for_other_splits_are_no_difference():
    before = feed(RunningMetrics([F1("none"), ConfusionMatrix()]), *MANY)
    after = RunningMetrics([F1("none", class_names="abcde")])
    assert after.differences(decode_state(plain(before))) == []


def test_a_checkpoint_of_the_first_version_still_restores_its_accuracy():
    fresh = xxhash.xxh3_64_hexdigest(repr({"_name": "acc", "_correct": 0, "_total": 0}).encode())
    saved = {"class": "Accuracy", "fresh": fresh, "state": {"_name": "acc", "_correct": 3, "_total": 4}}
    metrics = running(Accuracy())
    state = {"loss_sum": 8.0, "samples": 4, "metrics": [saved]}
    assert metrics.differences(state) == []
    metrics.set_state_dict(state)
    assert metrics.results() == {"loss": 2.0, "acc": 0.75}


def test_the_state_of_counts_leaves_out_their_zeros():
    metrics = feed(running(Auc(bins=4096)), *MANY)
    assert len(plain(metrics)) < 20_000 < 2 * CLASSES * 4096


# ---------------------------------------------------------------- shared counts, splits


def test_metrics_over_one_confusion_matrix_count_each_batch_once(monkeypatch):
    calls = []
    count = ConfusionCounts.add
    monkeypatch.setattr(ConfusionCounts, "add", lambda self, batch: calls.append(count(self, batch)))
    metrics = running(Precision(), Recall(), F1(), F1("micro"), ConfusionMatrix())
    feed(metrics, *MANY, size=80)
    assert len(calls) == 3
    assert metrics.results()["f1"] == pytest.approx(reference.f1_score(LABELS, BEST, average="macro"))
    feed(running(Precision(), Recall(threshold=0.6)), *MANY, size=240)
    assert len(calls) == 5, "what reads the outputs differently counts by itself"


def test_a_metric_with_an_update_of_its_own_is_neither_bypassed_nor_shared():
    class Halved(F1):
        def update(self, output, label):
            super().update(output[::2], label[::2])

    metrics = running(F1(), Halved(name="halved"))
    metrics.update(0, LOSS, paddle.to_tensor(LOGITS), paddle.to_tensor(LABELS), 240)
    assert metrics.results()["f1"] == value(F1(), *MANY)
    assert metrics.results()["halved"] == value(F1(), LOGITS[::2], LABELS[::2])


def test_metrics_are_kept_for_their_splits_and_a_picture_for_validation_and_test():
    precision = Precision()
    precision.splits = ("test",)
    training = RunningMetrics([Accuracy(), precision, ConfusionMatrix()])
    feed(training, *MANY)
    for split, names, drawn in (("valid", ["acc"], 1), ("test", ["acc", "precision"], 1)):
        metrics = feed(training.fresh(split), *MANY)
        assert list(metrics.results()) == ["loss", *names]
        assert len(metrics.pictures()) == drawn
    assert list(training.results()) == ["loss", "acc"]
    assert training.pictures() == {}


def test_evaluating_leaves_the_running_values_of_training_alone():
    training = feed(running(Accuracy(), F1(), Auc()), *MANY)
    before = bits(training)
    feed(training.fresh("valid"), LOGITS[:40], LABELS[:40])
    assert bits(training) == before


def test_the_tags_of_an_evaluation_are_known_before_it():
    metrics = [Accuracy(), F1("none", class_names=["cat", "T-shirt/top"]), ConfusionMatrix()]
    assert evaluation_tags(metrics) == ["valid/loss", "valid/acc", "valid/f1/cat", "valid/f1/T-shirt-top"]


# ---------------------------------------------------------------- what people see


def test_values_of_single_classes_have_their_names_in_the_tags_and_the_console_shows_their_range():
    metrics = feed(running(Recall("none", class_names=["a", "b/c", "d", "e", "f"])), *MANY)
    recalls = reference.recall_score(LABELS, BEST, average=None)
    results = metrics.results()
    assert list(results) == ["loss", *(f"recall/{name}" for name in ("a", "b-c", "d", "e", "f"))]
    line = _figures({f"valid/{name}": number for name, number in results.items()})
    low, high = int(recalls.argmin()), int(recalls.argmax())
    names = ["a", "b-c", "d", "e", "f"]
    expected = f"recall: {recalls[low]:.6g} ({names[low]}) to {recalls[high]:.6g} ({names[high]})"
    assert line == f"loss: 0.5, {expected}"


def test_the_picture_shows_each_row_in_shares_of_its_label():
    matrix = np.array([[90, 10, 0], [0, 0, 0], [1, 1, 2]])
    picture = draw_confusion_matrix(matrix, ["cat", "dog", "猫"]).astype(int)
    pale, deep = np.array([247, 250, 255]), np.array([8, 48, 107])
    # The paper and all letters are gray or white; only cells are blue.
    top, left = (int(np.flatnonzero((picture[..., 2] > picture[..., 0] + 4).any(axis))[0]) for axis in (1, 0))
    for row, column, part in ((0, 0, 0.9), (0, 1, 0.1), (0, 2, 0), (1, 1, 0), (2, 0, 0.25), (2, 2, 0.5)):
        beside_the_number = picture[top + row * 46 + 3, left + column * 46 + 3]
        assert np.abs(beside_the_number - (pale + part * (deep - pale))).max() <= 1


@pytest.mark.parametrize("classes", [2, 10, 27, 100, 1000])
def test_a_picture_of_many_classes_stays_of_a_size_that_can_be_shown(classes):
    height, width, _ = draw_confusion_matrix(np.eye(classes, dtype=int)).shape
    assert max(height, width) < 1150
    assert classes <= min(height, width)


def test_pictures_reach_visualdl_and_are_cut_back_and_continued_as_they_were(tmp_path):
    first, second = (draw_confusion_matrix(np.eye(4, dtype=int) * n) for n in (3, 4))
    log = VisualDLLogger(tmp_path, "run")
    log.log_image("valid/matrix", first, 0)
    cursor = log.state_dict()
    log.log_image("valid/matrix", second, 1)
    log.close()
    whole = read_images(tmp_path / "vdlrecords.run.log")
    [(step, png), (_, _)] = whole["valid/matrix"]
    assert step == 0
    assert (np.asarray(Image.open(io.BytesIO(png))) == first).all()

    again = VisualDLLogger(tmp_path, "run")
    again.set_state_dict(cursor)
    assert len(read_images(tmp_path / "vdlrecords.run.log")["valid/matrix"]) == 1
    again.log_image("valid/matrix", second, 1)
    again.close()
    assert read_images(tmp_path / "vdlrecords.run.log") == whole


def test_visualdl_reads_the_picture_and_a_log_without_pictures_leaves_it_out(tmp_path):
    from visualdl import LogReader

    picture = draw_confusion_matrix(np.eye(3, dtype=int))
    for log in (VisualDLLogger(tmp_path, "run"), JsonlLogger(tmp_path)):
        log.log_image("valid/matrix", picture, 2)
        log.close()
    [found] = LogReader(file_path=str(tmp_path / "vdlrecords.run.log")).get_data("image", "valid/matrix")
    assert found.id == 2
    assert (np.asarray(Image.open(io.BytesIO(found.image.encoded_image_string))) == picture).all()
    assert not (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(ConfigError, match="reads the '%' in the tag"):
        VisualDLLogger(tmp_path, "run").log_image("50%", picture, 0)


def test_the_proof_sees_a_picture_that_differs(tmp_path):
    for name, picture in (("straight", np.zeros((4, 4, 3), np.uint8)), ("killed", np.ones((4, 4, 3), np.uint8))):
        log = VisualDLLogger(tmp_path / name, "run")
        log.log_image("valid/matrix", picture, 0)
        log.close()
    found = first_differences(tmp_path / "straight", tmp_path / "killed")
    assert "vdlrecords.run.log: VisualDL record 0, image valid/matrix of step 0: the contents differ" in found


# ---------------------------------------------------------------- from YAML

CONFIG = """
run: {{name: tiny}}
model: {{name: MLP, hidden: 8}}
data: {{name: {data}, root: {root}, global_batch_size: 5, valid: 20}}
metrics:
  - name: Accuracy
  - {{name: TopK, k: 3}}
  - name: Precision
  - {{name: Recall, average: weighted}}
  - {{name: F1, average: none}}
  - {{name: F1, tag: f1_of_all}}
  - name: Auc
  - {{name: "paddle.metric:Accuracy", topk: [1, 5], tag: theirs, splits: [train, valid]}}
  - {{name: ConfusionMatrix, splits: [train, valid, test]}}
trainer: {{epochs: 2, log_every: 3}}
checkpoint: {{every_steps: 2}}
"""


@pytest.fixture
def config(tiny_mnist, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(data="fashion_mnist", root=tiny_mnist))
    return str(path)


def test_all_metrics_go_on_exactly_after_kills_in_the_middle_of_an_epoch(config, tmp_path):
    program = ["-m", "paddle_resume", "train", "-c", config]
    # Step 5 lies between a log record at step 3 and one at step 6, and is saved at 4; 8 steps make an epoch.
    assert_exact_resume(program, tmp_path, [Kill("step", 5), Kill("evaluate", 12, 2)])
    pictures = read_images(tmp_path / "killed/log/tiny/vdlrecords.tiny.log")
    assert {tag: [step for step, _ in found] for tag, found in pictures.items()} == {
        "train/confusion_matrix": [3, 6, 8, 11, 14, 16],
        "valid/confusion_matrix": [0, 1],
        "test/confusion_matrix": [1],
    }
    told = (tmp_path / "killed/log/tiny/metrics.jsonl").read_text()
    assert '"valid/f1/Ankle boot": ' in told
    assert '"train/theirs_top5": ' in told
    assert '"test/theirs_top5": ' not in told


def refused(config, capsys, *overrides):
    with pytest.raises(SystemExit) as end:
        main(["train", "-c", config, *(word for each in overrides for word in ("-o", each))])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("metrics=[{name: AUC}]", "metrics.0.name: AUC is not known; expected a subclass of paddle.metric.Metric"),
        ("metrics=[{name: F1, averages: macro}]", "did you mean average?"),
        ("metrics=[{name: F1, average: mean}]", "F1 has no average 'mean'"),
        ("metrics=[{name: F1, splits: [dev]}]", "metrics.0.splits.0 is dev; expected 'train', 'valid' or 'test'"),
        ("metrics=[{name: F1}, {name: F1, average: macro}]", "two values are called f1"),
        ("metrics=[{name: F1, average: binary}]", "needs two classes, and the output has 10"),
        ("metrics=[{name: TopK, k: 11}]", "TopK with k: 11 needs as many classes, and the output has 10"),
        ("metrics=[{name: 'paddle.metric:Auc', splits: [test]}]", "paddle.metric.Auc is for two classes"),
    ],
)
def test_a_metric_that_cannot_work_is_refused_before_training(override, text, config, capsys, monkeypatch):
    monkeypatch.chdir(Path(config).parent)
    assert text in refused(config, capsys, override)
    assert os.listdir(Path(config).parent) == ["c.yaml"]


REGRESSION = """
import numpy as np
import paddle

class Line(paddle.io.Dataset):
    class_names = ["no", "yes"]

    def __init__(self, kind="regression"):
        self.kind = kind

    def __len__(self):
        return 24

    def __getitem__(self, index):
        x = np.array([index / 24], np.float32)
        return x, {"regression": 3 * x, "binary": (x > 0.4).astype("float32")}[self.kind]

class Net(paddle.nn.Layer):
    def __init__(self, sigmoid=False):
        super().__init__()
        self.line, self.sigmoid = paddle.nn.Linear(1, 1), sigmoid

    def forward(self, x):
        return paddle.nn.functional.sigmoid(self.line(x)) if self.sigmoid else self.line(x)
"""
LINE = "run: {name: line}\nmodel: {name: 'line_here:Net'}\ndata: {name: 'line_here:Line', global_batch_size: 6}\n"


@pytest.fixture
def line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("line_here.py").write_text(REGRESSION)
    Path("c.yaml").write_text(f"{LINE}trainer: {{epochs: 1}}\n")
    return "c.yaml"


def test_accuracy_of_a_regression_is_refused_and_without_metrics_it_trains(line, capsys):
    mse = "loss={name: MSELoss}"
    assert "For a regression write `metrics: []`" in refused(line, capsys, mse)
    with pytest.raises(SystemExit) as end:
        main(["train", "-c", line, "-o", mse, "-o", "metrics=[]"])
    assert end.value.code == 0


def test_one_score_a_sample_trains_with_its_loss_and_logits_are_not_taken_for_probabilities(line, capsys):
    binary = ("data.kind=binary", "model.sigmoid=true", "loss={name: BCELoss}")
    told = refused(line, capsys, *binary)
    assert "metrics.0: Accuracy takes the outputs for logits, and loss.name: BCELoss for probabilities" in told
    own = "{name: F1, from_logits: false}, {name: Auc, from_logits: false, average: none}"
    options = [*binary, f"metrics=[{own}, {{name: 'paddle.metric:Recall'}}]"]
    with pytest.raises(SystemExit) as end:
        main(["train", "-c", line, *(word for each in options for word in ("-o", each))])
    assert end.value.code == 0
    assert "auc/yes" in Path("log/line/metrics.jsonl").read_text()
