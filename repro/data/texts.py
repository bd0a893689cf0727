"""Labelled texts: as rows of token numbers in memory, and as one prepared file, `<data directory>/<name>.jsonl.xz`.

Each line of the file is a JSON object with `split` ("train" or "test"), `label` (one of the class names) and
`text`; other keys are ignored. Any labelled texts can be stored in this format (docs/extending.md).
"""

import contextlib
import hashlib
import json
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field

from repro.data.dataset import Dataset, LabeledData, Split
from repro.data.prepared import PreparedFile
from repro.data.tokens import SPECIAL_TOKENS, Vocabulary
from repro.errors import BadInput


class Text(NamedTuple):
    text: str
    label: int


class TextDataset(Dataset):
    """Texts as int32 (n, tokens): the numbers of each text's first `tokens` tokens, then `PADDING`.

    The vocabulary (see `repro.data.tokens`) holds the `max_words` most frequent of the words that occur at least
    `minimum_count` times in the train split. It is built from the whole train split, whatever part of it a run
    selects, and never from the test split. A network is always built for `max_words` words, even if there are fewer,
    so that its shape follows from the config alone.
    """

    input_kind: ClassVar[Literal["images", "texts"]] = "texts"
    tokens: int = Field(default=100, ge=1)
    minimum_count: int = Field(default=10, ge=1)
    max_words: int = Field(default=25_000, ge=1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(tokens, number of distinct values of a token)."""
        return (self.tokens, SPECIAL_TOKENS + self.max_words)

    def mismatch(self, other: Dataset) -> str | None:
        if not isinstance(other, TextDataset):
            return super().mismatch(other)
        if other == self:
            return None
        return f"{other.name} and {self.name} have different vocabularies: use one text data set per run"

    def encode(self, train: Sequence[Text], test: Sequence[Text]) -> LabeledData:
        """Both splits as token numbers, with the vocabulary of `train`."""
        vocabulary = Vocabulary.of((text for text, _ in train), self.minimum_count, self.max_words)

        def split(texts: Sequence[Text]) -> Split:
            rows = [vocabulary.encode(text, self.tokens) for text, _ in texts]
            inputs = torch.tensor(rows, dtype=torch.int32).view(len(rows), self.tokens)
            return Split(inputs, torch.tensor([label for _, label in texts], dtype=torch.int64))

        return LabeledData(split(train), split(test))


class Archive(NamedTuple):
    """A public tar.gz of files `<folder>/<split>/<label>/<id>_<anything>.txt`, each of which holds one text."""

    url: str
    md5: str
    folder: str


class PreparedTexts(TextDataset, PreparedFile):
    """A text data set read from its prepared file. Subclasses define `name`, `num_classes` and `class_names`."""

    suffix: ClassVar[str] = ".jsonl.xz"
    archive: ClassVar[Archive | None] = None
    """Where `repro data prepare` gets the texts; None for a user-defined data set."""

    def load(self, directory: Path) -> LabeledData:
        path, remedy = self.file(directory), self.remedy(directory)
        with _readable(path, remedy):
            train, test = self.read(path)
        return self.encode(train, test)

    def read(self, path: Path) -> tuple[list[Text], list[Text]]:
        """The train and the test texts of a prepared file, in file order.

        Raises ValueError if a line is invalid or there are no train texts.
        """
        splits: dict[str, list[Text]] = {"train": [], "test": []}
        with lzma.open(path) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    split, text = self._text(json.loads(line))
                except ValueError as problem:
                    raise ValueError(f"line {number}: {problem}") from problem
                splits[split].append(text)
        if not splits["train"]:
            raise ValueError("holds no train texts")
        return splits["train"], splits["test"]

    def fingerprint(self, directory: Path) -> str:
        """A digest of the decompressed lines, so that it does not depend on how they were compressed."""
        path, remedy = self.file(directory), self.remedy(directory)
        with _readable(path, remedy), lzma.open(path) as lines:
            return hashlib.file_digest(lines, "sha256").hexdigest()[:16]

    def _text(self, content: Any) -> tuple[str, Text]:
        if not isinstance(content, dict):
            raise ValueError("is not a JSON object")
        for key in ("split", "label", "text"):
            if not isinstance(content.get(key), str):
                raise ValueError(f"'{key}' is {'missing' if key not in content else 'not a string'}")
        split, label = content["split"], content["label"]
        if split not in ("train", "test"):
            raise ValueError(f"the split '{split}' is neither train nor test")
        if label not in self.class_names:
            raise ValueError(f"the label '{label}' is none of {', '.join(self.class_names)}")
        return split, Text(content["text"], self.class_names.index(label))


@contextlib.contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    """Raise errors in reading the file as BadInput ending in `remedy`."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; {remedy}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise BadInput(f"{path}: truncated, damaged or not an .xz file ({error}); {remedy}") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as problem:
        raise BadInput(f"{path}: {problem}; {remedy}") from problem


class IMDB(PreparedTexts):
    """Film reviews, negative or positive, 25,000 train and 25,000 test (Maas et al. 2011, ACL P11-1015).

    20,576 words occur at least ten times in the train texts, so the default `max_words` keeps all of them.
    """

    name: Literal["imdb"] = "imdb"
    num_classes: ClassVar[int] = 2
    class_names: ClassVar[tuple[str, ...]] = ("neg", "pos")
    archive: ClassVar[Archive | None] = Archive(
        "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz", "7c2ac02c03563afcf9b574c7e56c153a", "aclImdb"
    )
    published_size: ClassVar[int | None] = 25_000
    published_test_size: ClassVar[int | None] = 25_000
