"""The paper's own values, from `paper_values.yaml`."""

from pathlib import Path
from typing import Any

import yaml


def paper_values(name: str) -> dict[str, Any]:
    """The values of one figure or table, each with its source; KeyError if there are none."""
    content = yaml.safe_load((Path(__file__).parent / "paper_values.yaml").read_text())
    values: dict[str, Any] = content[name]
    return values
