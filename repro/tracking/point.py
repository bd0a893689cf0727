"""The point of a W&B sweep that an agent has started this process for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Point:
    """sweep: W&B's id of the sweep. parameters: the values at this point, by parameter name in the sweep file."""

    sweep: str
    parameters: dict[str, Any]


def point_of_agent() -> Point | None:
    """Read the point that `wandb agent` passes in the environment; None if no agent started this process."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if sweep is None:
        return None
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
    content = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return Point(sweep, {name: entry["value"] for name, entry in content.items() if isinstance(entry, dict)})
