"""Convert text to numbers: a simple tokenizer, and the vocabulary of a train split."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

PADDING = 0
"""Fills a row after the end of its text, and occurs nowhere else."""

UNKNOWN = 1
"""Stands for every word outside the vocabulary."""

SPECIAL_TOKENS = 2

_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TOKEN = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def tokenize(text: str) -> Iterator[str]:
    """The tokens of `text`, in lower case: words (with inner apostrophes), and every other symbol on its own.

    A word is a run of letters, digits and underscores of any script. HTML line breaks count as spaces. For example,
    "Don't go!<br />10/10" gives don't, go, !, 10, /, 10.
    """
    return (match.group() for match in _TOKEN.finditer(_LINE_BREAK.sub(" ", text).lower()))


@dataclass(frozen=True)
class Vocabulary:
    """The words that have their own number, from `SPECIAL_TOKENS` upwards, the most frequent first."""

    numbers: dict[str, int]

    @classmethod
    def of(cls, texts: Iterable[str], minimum_count: int, max_words: int) -> Self:
        """The `max_words` most frequent of the words that occur at least `minimum_count` times in `texts`.

        Words of equal frequency are taken in alphabetical order.
        """
        counts = Counter(token for text in texts for token in tokenize(text))
        frequent = [(-count, word) for word, count in counts.items() if count >= minimum_count]
        words = [word for _, word in sorted(frequent)[:max_words]]
        return cls({word: number for number, word in enumerate(words, start=SPECIAL_TOKENS)})

    def __len__(self) -> int:
        return len(self.numbers)

    def encode(self, text: str, tokens: int) -> list[int]:
        """The numbers of the first `tokens` tokens of `text`, padded with `PADDING` to that length."""
        numbers = [self.numbers.get(token, UNKNOWN) for token in islice(tokenize(text), tokens)]
        return numbers + [PADDING] * (tokens - len(numbers))
