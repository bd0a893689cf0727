"""What a command knows of the W&B sweep agent that has started it, and what it tells `repro wandb agent`."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPORT = "REPRO_AGENT_REPORT"
"""The environment variable with the file to which every `repro` command under the agent reports start and success."""
FOREIGN = (
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WANDB_RUN_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_DIR",
    "WANDB_FORK_FROM",
    "WANDB_RESUME_FROM",
)
"""Of the process that an agent, or the user, started. The client would share the agent's service, and show each run
under another id and in another project."""


@contextlib.contextmanager
def reported_to_agent() -> Iterator[None]:
    """Report to the agent, if any, that the command has begun, and after the block that it succeeded."""
    path = os.environ.pop(REPORT, None)
    _append(path, "begun")
    yield
    _append(path, "done")


def _append(path: str | None, word: str) -> None:
    if path is not None:
        with Path(path).open("a") as file:
            file.write(f"{word}\n")


@dataclass(frozen=True)
class Point:
    """The point of a W&B sweep that the agent has started this process for.

    sweep: W&B's id of the sweep. parameters: the values at this point, by parameter name in the sweep file.
    """

    sweep: str
    parameters: dict[str, Any]


def point_of_agent() -> Point | None:
    """Read the point that `wandb agent` passes in the environment; None if no agent started this process."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if not sweep:
        return None
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
    content = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return Point(sweep, {name: entry["value"] for name, entry in content.items() if isinstance(entry, dict)})
