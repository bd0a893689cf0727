"""A bidirectional LSTM over token numbers (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735)."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from repro.data.tokens import PADDING
from repro.errors import BadInput
from repro.models.base import Model


class Encoder(nn.Module):
    """Maps token numbers, integers (batch, tokens), to the top layer's last hidden states in both directions.

    The result is (batch, 2 * cell). Padding does not affect it, since packed sequences leave padding out. Of a text
    without tokens, one padding token is read, whose embedding is zero.
    """

    def __init__(self, words: int, embedding: int, cell: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding, padding_idx=PADDING)
        self.lstm = nn.LSTM(embedding, cell, layers, bidirectional=True, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        # Packing needs the lengths on the CPU. No other network makes the host wait for the GPU.
        lengths = (tokens != PADDING).sum(dim=1).clamp_(min=1).cpu()
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        with _kernels():
            _, (hidden, _) = self.lstm(packed)
        return torch.cat([hidden[-2], hidden[-1]], dim=1)


def _kernels() -> AbstractContextManager[None]:
    """Torch's own kernels in bfloat16 on processors without AVX-512, for which oneDNN has no such LSTM."""
    if torch.is_autocast_enabled("cpu") and torch.backends.cpu.get_cpu_capability() not in ("AVX512", "AMX"):
        return _without_onednn()
    return contextlib.nullcontext()


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    onednn: Any = torch.backends.mkldnn  # its `flags` warn of GPUs
    before = onednn.enabled
    onednn.enabled = False
    try:
        yield
    finally:
        onednn.enabled = before


class LSTMNetwork(nn.Module):
    """The encoder, whose output is the only stage, and a linear classifier."""

    stages: tuple[str, ...] = ("encoder",)

    def __init__(self, encoder: Encoder, cell: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(2 * cell, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.encoder(tokens))
        return logits


class LSTM(Model):
    """A bidirectional LSTM for texts with torch's default initialization. The default sizes are the paper's."""

    name: Literal["lstm"] = "lstm"
    input_kind: ClassVar[Literal["images", "texts"]] = "texts"
    compiles: ClassVar[bool] = False  # the number of tokens varies by batch, and recurrences are not compiled anyway
    embedding: int = Field(default=128, ge=1)
    cell: int = Field(default=70, ge=1)
    layers: int = Field(default=2, ge=1)

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        if len(input_shape) != 2:
            raise BadInput(f"model lstm fits texts (tokens, words), not inputs of shape {input_shape}")
        _, words = input_shape
        return LSTMNetwork(Encoder(words, self.embedding, self.cell, self.layers), self.cell, num_classes)
