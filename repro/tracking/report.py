"""How commands started by `repro wandb agent` report their outcome to it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

REPORT = "REPRO_AGENT_REPORT"
"""The environment variable with the file to which every `repro` command under the agent reports start and success."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Report to the agent, if any, that the command has begun, and after the block that it succeeded."""
    path = os.environ.pop(REPORT, None)
    _append(path, "begun")
    yield
    _append(path, "done")


def _append(path: str | None, word: str) -> None:
    if path is not None:
        with Path(path).open("a") as file:
            file.write(f"{word}\n")
