"""A small language model: a decoder-only transformer that predicts each next token of a text."""

from __future__ import annotations

import paddle
from paddle import nn


class TransformerLM(nn.Layer):
    """A decoder-only transformer as in GPT-2 (Radford et al. 2019), at any size.

    Learned positions, pre-norm blocks with GELU and a feed-forward part of four times the width, causal attention,
    and an output that shares its weights with the token embedding (Press and Wolf 2017).

    Args:
        vocab_size: how many tokens there are.
        context: the longest sequence.
        width: features a token; a multiple of `heads`.
        depth: blocks.
        heads: attention heads a block.
        dropout: applied to embeddings, attention and both halves of a block.

    Raises ValueError for sizes that do not go together.
    """

    def __init__(
        self,
        vocab_size: int,
        context: int = 128,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(vocab_size, context, width, depth, heads) < 1 or width % heads:
            raise ValueError(
                f"vocab_size {vocab_size}, context {context}, width {width}, depth {depth} and heads {heads} have to "
                "be 1 or more, and width a multiple of heads"
            )
        self.vocab_size = vocab_size
        self.context = context
        small = nn.initializer.Normal(std=0.02)
        self.tokens = nn.Embedding(vocab_size, width, weight_attr=paddle.ParamAttr(initializer=small))
        self.positions = nn.Embedding(context, width, weight_attr=paddle.ParamAttr(initializer=small))
        self.dropout = nn.Dropout(dropout)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=dropout, activation="gelu", normalize_before=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(width))

    def forward(self, ids: paddle.Tensor) -> paddle.Tensor:
        """Logits [N, T, vocab_size] of the token after each of `ids`, int64 [N, T] with T <= context."""
        length = ids.shape[1]
        if length > self.context:
            raise ValueError(f"a sequence of {length} tokens is longer than the context of {self.context}")
        x = self.dropout(self.tokens(ids) + self.positions(paddle.arange(length)))
        # Made anew each time: as a buffer it would be one more thing in every checkpoint.
        mask = paddle.triu(paddle.full([length, length], float("-inf")), 1)
        return paddle.matmul(self.blocks(x, mask), self.tokens.weight, transpose_y=True)
