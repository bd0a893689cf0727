"""A Transformer encoder over token numbers (Vaswani et al. 2017, arXiv:1706.03762), pre-norm (arXiv:2002.04745)."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from repro.data.tokens import PADDING
from repro.errors import BadInput
from repro.models.base import Model

EMBEDDING_STD = 0.02
"""Standard deviation of initial embeddings, as in BERT (arXiv:1810.04805). torch's default of 1 would drown out what
the layers add."""


class Encoder(nn.Module):
    """Maps token numbers, integers (batch, tokens), to the mean of the top layer's outputs over each text's tokens.

    The result is (batch, width). Padding does not affect it: no token attends to padding, and the mean leaves it out.
    Of a text without tokens, one padding token is read, whose embedding is zero. Rows may be shorter than `tokens`.
    """

    def __init__(self, tokens: int, words: int, options: "Transformer") -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, options.width, padding_idx=PADDING)
        self.position = nn.Embedding(tokens, options.width)
        for embedding in (self.embedding, self.position):
            with torch.no_grad():
                embedding.weight *= EMBEDDING_STD
        self.dropout = nn.Dropout(options.dropout)
        # Not nn.TransformerEncoder, which initialises all of its layers with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                options.width,
                options.heads,
                options.feedforward,
                options.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.width)

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == PADDING
        padding[:, 0] = False  # only a text without tokens begins with padding
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        outputs = self.dropout(self.embedding(tokens) + self.position(positions))
        for layer in self.layers:
            outputs = layer(outputs, src_key_padding_mask=padding)
        own = self.norm(outputs).masked_fill(padding.unsqueeze(2), 0.0)
        mean: Tensor = own.sum(dim=1) / (~padding).sum(dim=1, keepdim=True)
        return mean


class TransformerNetwork(nn.Module):
    """The encoder, whose output is the only stage, and a linear classifier."""

    stages: tuple[str, ...] = ("encoder",)

    def __init__(self, encoder: Encoder, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.encoder(tokens))
        return logits


class Transformer(Model):
    """A small Transformer encoder for texts: 1.7 million parameters with 25,002 words, 100 tokens and two classes.

    Token and position embeddings are added. Each layer is norm, self-attention, norm, and an MLP with `feedforward`
    hidden units and GELU. Embeddings start small (`EMBEDDING_STD`); all else has torch's default initialization.
    """

    name: Literal["transformer"] = "transformer"
    input_kind: ClassVar[Literal["images", "texts"]] = "texts"
    width: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=2, ge=1)
    feedforward: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        return self

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        if len(input_shape) != 2:
            raise BadInput(f"model transformer fits texts (tokens, words), not inputs of shape {input_shape}")
        return TransformerNetwork(Encoder(*input_shape, self), self.width, num_classes)
