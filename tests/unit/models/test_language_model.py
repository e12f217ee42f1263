"""TransformerLM, its metrics, and text drawn from it."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

from paddle_resume import Trainer, seed_everything
from paddle_resume.cli import main
from paddle_resume.data.text import TextDataset
from paddle_resume.metrics import Accuracy, Perplexity
from paddle_resume.models import TransformerLM
from paddle_resume.owners.model import ModelState


def small(vocab_size=11, **options):
    return TransformerLM(vocab_size, **{"context": 8, "width": 16, "depth": 2, "heads": 2, "dropout": 0.2, **options})


def some_ids(rows=3, length=8):
    return paddle.to_tensor(np.random.RandomState(0).randint(0, 11, (rows, length)))


# ---------------------------------------------------------------- the model


def test_an_output_does_not_depend_on_later_tokens_and_does_on_earlier_ones():
    model, ids = small(), some_ids(rows=1)
    model.eval()
    logits = model(ids).numpy()
    assert logits.shape == (1, 8, 11)
    for changed in range(8):
        other = ids.numpy().copy()
        other[0, changed] = (other[0, changed] + 1) % 11
        differs = np.abs(model(paddle.to_tensor(other)).numpy() - logits).max(axis=-1)[0] > 1e-6
        assert not differs[:changed].any() and differs[changed:].all()


def test_the_output_and_the_embedding_are_one_parameter_with_one_place_in_a_checkpoint():
    model = small()
    names = [name for name, parameter in model.named_parameters() if parameter.shape == [11, 16]]
    assert names == ["tokens.weight"]
    assert not [name for name, buffer in model.named_buffers()]
    before = model.tokens.weight.numpy()
    paddle.nn.CrossEntropyLoss()(model(paddle.full([2, 8], 3, "int64")), paddle.full([2, 8], 4, "int64")).backward()
    # Token 5 was neither read nor wanted: it only learns through the output.
    assert np.abs(model.tokens.weight.grad.numpy()[5]).max() > 0
    assert model.tokens.weight.numpy().tobytes() == before.tobytes()


def test_dropout_works_in_training_only():
    model, ids = small(), some_ids()
    assert model(ids).numpy().tobytes() != model(ids).numpy().tobytes()
    model.eval()
    assert model(ids).numpy().tobytes() == model(ids).numpy().tobytes()


def test_a_sequence_longer_than_the_context_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a sequence of 9 tokens is longer than the context of 8"):
        small()(some_ids(length=9))
    with pytest.raises(ValueError, match="width 15, .* and width a multiple of heads"):
        small(width=15)


class Tied(paddle.nn.Layer):
    """One parameter under two names."""

    def __init__(self):
        super().__init__()
        self.inward = paddle.nn.Linear(6, 6)
        self.drop = paddle.nn.Dropout(0.3)
        self.outward = paddle.nn.Linear(6, 6)
        self.outward.weight = self.inward.weight

    def forward(self, x):
        return self.outward(self.drop(paddle.nn.functional.relu(self.inward(x))))


def test_a_parameter_under_two_names_resumes_bit_for_bit_and_stays_tied(tmp_path):
    draw = np.random.RandomState(0)
    data = paddle.io.TensorDataset([paddle.to_tensor(draw.rand(32, 6).astype("float32")) for _ in range(2)])

    def run(folder, steps):
        seed_everything(1)
        model = Tied()
        optimizer = paddle.optimizer.AdamW(0.01, parameters=model.parameters())
        trainer = Trainer(model, optimizer, loss=paddle.nn.MSELoss(), save_dir=tmp_path / folder, seed=1)
        trainer.train(data, global_batch_size=4, max_steps=steps)
        assert model.outward.weight is model.inward.weight
        state = {**ModelState(model).state_dict(), **optimizer.state_dict()}
        return [np.asarray(value).tobytes() for name, value in state.items() if name != "StructuredToParameterName@@"]

    straight = run("straight", 6)
    assert run("resumed", 3) != straight
    assert run("resumed", 6) == straight


# ---------------------------------------------------------------- metrics


def test_perplexity_is_the_exponential_of_the_mean_loss_over_all_tokens_of_all_batches():
    draw = np.random.RandomState(0)
    logits = draw.randn(5, 7, 11).astype("float32")
    labels = draw.randint(0, 11, (5, 7))
    metric = Perplexity()
    for part in (slice(0, 3), slice(3, 5)):
        metric.update(*metric.compute(paddle.to_tensor(logits[part]), paddle.to_tensor(labels[part])))
    log_shares = logits - np.log(np.exp(logits.astype("float64")).sum(-1, keepdims=True))
    expected = math.exp(-np.take_along_axis(log_shares, labels[..., None], -1).mean())
    assert metric.accumulate() == pytest.approx(expected, rel=1e-5)
    metric.reset()
    even = paddle.zeros([2, 3, 11])
    metric.update(*metric.compute(even, paddle.ones([2, 3], "int64")))
    assert metric.accumulate() == pytest.approx(11, rel=1e-6)


def test_perplexity_leaves_out_the_labels_that_the_loss_leaves_out():
    metric = Perplexity()
    logits = paddle.to_tensor([[[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]]])
    metric.update(*metric.compute(logits, paddle.to_tensor([[-100, -100, 1]])))
    assert metric.accumulate() == pytest.approx(2, rel=1e-6)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    metric = Perplexity()
    metric.update(np.float32(1e6), 1)
    assert metric.accumulate() == math.inf


def test_accuracy_counts_tokens_as_it_counts_samples():
    logits = paddle.to_tensor(np.random.RandomState(0).randn(4, 6, 5).astype("float32"))
    labels = paddle.argmax(logits, -1)
    labels[1:3] = (labels[1:3] + 1) % 5
    metric = Accuracy()
    metric.update(*metric.compute(logits, labels))
    assert metric.accumulate() == 0.5


# ---------------------------------------------------------------- text


CONFIG = """
run: {name: tiny, device: cpu}
model: {name: TransformerLM, vocab_size: auto, context: auto, width: 16, depth: 1, heads: 2, dropout: 0.0}
data: {name: TextDataset, files: corpus.txt, context: 7, tokenizer: TOKENIZER, global_batch_size: 16}
metrics: [{name: Perplexity}, {name: Accuracy}]
optimizer: {name: AdamW, lr: 0.02}
trainer: {max_steps: 60, epochs: 20, log_every: 20}
"""


@pytest.fixture(scope="module", params=["characters", "bytes"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "corpus.txt").write_text("añb" * 500, encoding="utf-8")
    (folder / "c.yaml").write_text(CONFIG.replace("TOKENIZER", request.param), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _command("train", "-c", "c.yaml", "-q")
    return folder


@pytest.fixture
def generate(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)

    def run(*arguments, code=0):
        command = ["generate", "-c", "c.yaml", "--weights", "tiny.pdparams", *arguments]
        _command(*command, code=code)
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def _command(*arguments, code=0):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert (end.value.code or 0) == code


def test_the_model_goes_on_with_what_it_has_learned(generate):
    text = generate("--prompt", "añb", "--length", "12", "--temperature", "0")
    assert text.rstrip("\n").startswith("añbañbañ") and "\ufffd" not in text


def test_the_same_seed_writes_the_same_text(generate):
    options = ("--prompt", "a", "--length", "40", "--temperature", "3", "--seed")
    assert generate(*options, "1") == generate(*options, "1") != generate(*options, "2")


def test_what_cannot_begin_a_text_is_told_in_one_line(generate, trained):
    if "tokenizer: characters" in (trained / "c.yaml").read_text():
        assert generate("--prompt", "xyz", code=2).startswith("error: The character 'x' is not among the 3 characters")
    assert "give a prompt of at least one character" in generate("--prompt", "", code=2)
    digits = ("-o", "data.name=mnist", "-o", "data.fallback=digits")
    assert "data.name: mnist has no tokenizer" in generate("--prompt", "a", *digits, code=2)


def test_a_model_without_training_is_as_wrong_as_guessing(trained, monkeypatch):
    monkeypatch.chdir(trained)
    data = TextDataset(files="corpus.txt", context=8)
    metric, model = Perplexity(), small(vocab_size=3)
    model.eval()
    ids, targets = map(paddle.to_tensor, data.gather(np.arange(20)))
    metric.update(*metric.compute(model(ids), targets))
    assert metric.accumulate() == pytest.approx(3, rel=0.2)
