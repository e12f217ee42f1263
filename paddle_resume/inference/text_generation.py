"""Text from a language model's weights, one token drawn after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from paddle_resume.builders.data import build_data
from paddle_resume.builders.model import model_with_weights
from paddle_resume.config import Config
from paddle_resume.errors import ConfigError


def generate_text(
    config: Config, weights: str, prompt: str, length: int, seed: int = 0, temperature: float = 1.0
) -> Iterator[str]:
    """What the model writes after `prompt`: `length` tokens, as pieces of text in the order in which they come.

    The config's data gives tokenizer and context. The same seed gives the same text. A temperature below 1 prefers
    likely tokens, 0 takes the likeliest. Raises ConfigError for data without a tokenizer or a wrong argument,
    CheckpointError for weights that are missing, damaged or do not fit.
    """
    data: Any = build_data(config).train
    if not hasattr(data, "tokenizer"):
        raise ConfigError(f"data.name: {config.data.name} has no tokenizer; text comes from a config with TextDataset.")
    if not prompt or temperature < 0:
        raise ConfigError(
            f"--prompt {prompt!r} --temperature {temperature:g}: give a prompt of at least one character, and a "
            "temperature of 0 or more."
        )
    model, _, _ = model_with_weights(config, weights, data)
    model.eval()
    tokens = list(data.tokenizer.encode(prompt))
    prompt_length = len(tokens)
    shown = 0
    for token in _sample(model, tokens, data.context, length, np.random.RandomState(seed), temperature):
        tokens.append(token)
        text = data.tokenizer.decode(tokens[prompt_length:])
        # The bytes of one character may come one by one: until the last of them there is nothing to show.
        if not text.endswith("\ufffd") or len(tokens) == prompt_length + length:
            yield text[shown:]
            shown = len(text)


def _sample(
    model: paddle.nn.Layer,
    tokens: list[int],
    context: int,
    length: int,
    generator: np.random.RandomState,
    temperature: float,
) -> Iterator[int]:
    """The next token, `length` times; the caller appends each to `tokens`."""
    for _ in range(length):
        window = paddle.to_tensor(np.array([tokens[-context:]], np.int64))
        with paddle.no_grad():
            logits = model(window)[0, -1].numpy().astype(np.float64)
        if temperature == 0:
            yield int(logits.argmax())
            continue
        weights = np.exp((logits - logits.max()) / temperature)
        yield int(generator.choice(len(weights), p=weights / weights.sum()))
