"""How the commands that `repro wandb agent` has started tell it what became of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

REPORT = "REPRO_AGENT_REPORT"
"""The file in which every `repro` command under the agent says that it began, and that it ended well."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """What the `repro` commands that an agent starts do within: say that they began, and that they did not fail."""
    path = os.environ.pop(REPORT, None)
    _append(path, "begun")
    yield
    _append(path, "done")


def _append(path: str | None, word: str) -> None:
    if path is not None:
        with Path(path).open("a") as file:
            file.write(f"{word}\n")
