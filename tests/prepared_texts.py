"""Prepared text files for tests."""

import json
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from repro.data.texts import PreparedTexts


class Weather(PreparedTexts):
    """A text data set of one's own, as docs/extending.md says."""

    name: Literal["weather"] = "weather"
    num_classes: ClassVar[int] = 2
    class_names: ClassVar[tuple[str, ...]] = ("bad", "good")


SMALL: dict[str, Any] = {"tokens": 4, "minimum_count": 1, "max_words": 5}
LINES = [
    {"split": "train", "label": "good", "text": "sun sun sun"},
    {"split": "test", "label": "good", "text": "sun, and wind!"},
    {"split": "train", "label": "bad", "text": "rain and wind and rain and cold"},
    {"split": "test", "label": "bad", "text": ""},
]


def write_lines(path: Path, lines: Iterable[Any], preset: int = 6) -> Path:
    """Write `lines` (JSON-like data, or bytes as they are) as a prepared text file."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(lzma.compress(b"".join(line + b"\n" for line in encoded), preset=preset))
    return path
