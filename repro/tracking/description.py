"""How a run appears in W&B."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.store import RunDirectory
from repro.tracking.label import Label

PROJECT = "does-distillation-work"
"""The W&B project unless $WANDB_PROJECT names another."""
TAG_CHARACTERS = 64
"""The longest tag that W&B takes: some conditions are longer, and are whole only in the config."""


@dataclass(frozen=True)
class Destination:
    """Where in W&B, and where the client may keep its own files."""

    project: str
    entity: str | None
    folder: Path


def destination(runs: Path) -> Destination:
    """As W&B's own environment variables say; the client's files go into `runs`."""
    # Absolute: the client has a process of its own write them, which may work in another folder.
    folder = (runs / "wandb").absolute()
    # A variable that is empty is as one that is not set, also to the client.
    return Destination(os.environ.get("WANDB_PROJECT") or PROJECT, os.environ.get("WANDB_ENTITY") or None, folder)


def nested_config(record: RunDirectory, label: Label | None) -> dict[str, Any]:
    """The run's config as W&B shows it: nested; what it was asked for as; and where it was made."""
    content = record.read_json("config.json")
    attempts = record.read_json("environment.json")["attempts"]
    latest = attempts[-1]
    return {
        **content["config"],
        **(label.asked_for() if label else {}),
        "record": {
            "attempts": len(attempts),
            "commit": latest["code"],
            "machine": latest["machine"],
        },
    }


def tags(label: Label) -> tuple[str, ...]:
    """The label's tags as W&B takes them."""
    return tuple(tag if len(tag) <= TAG_CHARACTERS else f"{tag[: TAG_CHARACTERS - 1]}…" for tag in label.tags)


def job_type(record: RunDirectory) -> str:
    """teacher, student or generator."""
    kind: str = record.read_json("config.json")["config"]["kind"]
    return kind
