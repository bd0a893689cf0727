"""How a run appears in W&B."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.atomic import reading
from repro.store import RunDirectory
from repro.tracking.label import Label
from repro.tracking.offline import noted_by_login

PROJECT = "does-distillation-work"
"""The default W&B project; $WANDB_PROJECT overrides it."""
TAG_CHARACTERS = 64
"""The longest tag that W&B accepts. Some conditions are longer; only the config has them in full."""


@dataclass(frozen=True)
class Destination:
    """The project and entity in W&B, and the folder for the client's own files."""

    project: str
    entity: str | None
    folder: Path

    def path(self, run_id: str) -> str:
        """Of a run, as the client's API takes it."""
        return "/".join(filter(None, (self.entity, self.project, run_id)))


def destination(runs: Path) -> Destination:
    """The destination set by W&B's own environment variables; for the entity also by its settings file.

    The client's files go into `runs`.
    """
    # Absolute, because the client's own process writes the files and may have another working directory.
    folder = (runs / "wandb").absolute()
    # The client treats an empty variable as unset, too. It would use a saved entity to send runs, but not to find them.
    entity = os.environ.get("WANDB_ENTITY") or noted_by_login().get("entity") or None
    return Destination(os.environ.get("WANDB_PROJECT") or PROJECT, entity, folder)


def nested_config(record: RunDirectory, label: Label | None) -> dict[str, Any]:
    """The run's config for W&B: the nested config, the study, preset and condition, and where the run was made."""
    content = record.read_json("config.json")
    attempts = record.read_json("environment.json")["attempts"]
    with reading(record.path / "environment.json"):
        latest = {"commit": attempts[-1]["code"], "machine": attempts[-1]["machine"]}
    return {
        **content["config"],
        **(label.asked_for() if label else {}),
        "record": {"attempts": len(attempts), **latest},
    }


def tags(label: Label) -> tuple[str, ...]:
    """The label's tags, cut to the length that W&B accepts."""
    return tuple(tag if len(tag) <= TAG_CHARACTERS else f"{tag[: TAG_CHARACTERS - 1]}…" for tag in label.tags)


def job_type(record: RunDirectory) -> str:
    """teacher, student or generator."""
    kind: str = record.read_json("config.json")["config"]["kind"]
    return kind
