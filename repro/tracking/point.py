"""The point of a W&B sweep that an agent has this process make."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Point:
    """sweep: W&B's id of it. parameters: what it sets, by name, as in the sweep file."""

    sweep: str
    parameters: dict[str, Any]


def point_of_agent() -> Point | None:
    """What `wandb agent` says in the environment; None where none has started this process."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if sweep is None:
        return None
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
    content = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return Point(sweep, {name: entry["value"] for name, entry in content.items() if isinstance(entry, dict)})
