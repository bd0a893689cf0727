"""Synthetic texts, for smoke tests of studies whose real data are files."""

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from repro.data.dataset import LabeledData
from repro.data.texts import Text, TextDataset

WORDS = 20
"""The number of distinct words of each class, and of distinct words that both classes use."""


class SyntheticTexts(TextDataset):
    """Each word of a text is specific to its class or common to both, with equal probability.

    Texts have 0 to 2 * `tokens` words. There are `texts` train texts and half as many test texts, balanced over two
    classes and drawn from `seed`.
    """

    name: Literal["synthetic_texts"] = "synthetic_texts"
    texts: int = Field(default=200, ge=20)
    seed: int = Field(default=0, ge=0, lt=2**63)
    num_classes: ClassVar[int] = 2
    class_names: ClassVar[tuple[str, ...]] = ("even", "odd")

    @property
    def train_size(self) -> int:
        return self.texts

    @property
    def test_size(self) -> int:
        return self.texts // 2

    def load(self, directory: Path) -> LabeledData:  # noqa: ARG002  (synthetic: needs no file)
        return self.encode(*self._made())

    def fingerprint(self, directory: Path) -> str:  # noqa: ARG002
        return hashlib.sha256(repr(self._made()).encode()).hexdigest()[:16]

    def _made(self) -> tuple[list[Text], list[Text]]:
        generator = torch.Generator().manual_seed(self.seed)

        def write(label: int) -> Text:
            length = int(torch.randint(2 * self.tokens + 1, (1,), generator=generator))
            words = torch.randint(WORDS, (length,), generator=generator).tolist()
            own = torch.randint(2, (length,), generator=generator).tolist()
            kinds = ("common", self.class_names[label])
            return Text(" ".join(f"{kinds[is_own]}{word}" for word, is_own in zip(words, own, strict=True)), label)

        return [write(i % 2) for i in range(self.texts)], [write(i % 2) for i in range(self.test_size)]
