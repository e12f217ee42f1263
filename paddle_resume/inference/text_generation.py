"""Text from a language model's weights, one token drawn after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from paddle_resume.builders.data import build_data, describe
from paddle_resume.builders.model import build_model, choose_device
from paddle_resume.checkpoint.weights import read_weights
from paddle_resume.config import Config
from paddle_resume.errors import ConfigError
from paddle_resume.owners.model import load_weights


def generate_text(
    config: Config, weights: str, prompt: str, length: int, seed: int = 0, temperature: float = 1.0
) -> Iterator[str]:
    """What the model writes after `prompt`: `length` tokens, as pieces of text in the order in which they come.

    The config's data gives tokenizer and context. The same seed gives the same text. A temperature below 1 prefers
    likely tokens, 0 takes the likeliest. Raises ConfigError for data without a tokenizer or a wrong argument,
    CheckpointError for weights that are missing, damaged or do not fit.
    """
    path, arrays = read_weights(weights)
    choose_device(config)
    data: Any = build_data(config).train
    if not hasattr(data, "tokenizer"):
        raise ConfigError(f"data.name: {config.data.name} has no tokenizer; text comes from a config with TextDataset.")
    if not prompt or temperature < 0:
        raise ConfigError(
            f"--prompt {prompt!r} --temperature {temperature:g}: give a prompt of at least one character, and a "
            "temperature of 0 or more."
        )
    model = build_model(config, describe(data))
    load_weights(model, arrays, source=str(path))
    model.eval()
    ids = list(data.tokenizer.encode(prompt))
    given = len(ids)
    shown = 0
    for id_ in _draw(model, ids, data.context, length, np.random.RandomState(seed), temperature):
        ids.append(id_)
        text = data.tokenizer.decode(ids[given:])
        # The bytes of one character may come one by one: until the last of them there is nothing to show.
        if not text.endswith("\ufffd") or len(ids) == given + length:
            yield text[shown:]
            shown = len(text)


def _draw(
    model: paddle.nn.Layer, ids: list[int], context: int, length: int, generator: np.random.RandomState, heat: float
) -> Iterator[int]:
    """The next token, `length` times; the caller appends each to `ids`."""
    for _ in range(length):
        with paddle.no_grad():
            logits = model(paddle.to_tensor(np.array([ids[-context:]], np.int64)))[0, -1].numpy().astype(np.float64)
        if heat == 0:
            yield int(logits.argmax())
            continue
        shares = np.exp((logits - logits.max()) / heat)
        yield int(generator.choice(len(shares), p=shares / shares.sum()))
