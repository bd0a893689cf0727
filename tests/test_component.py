"""What makes a class one of the parts that a config can choose by name."""

import importlib
from pathlib import Path

import pytest

FILE = """
from typing import Literal

from repro.component import Component


class Kind(Component):
    name: str


class Base(Kind):
    size: int = 1


class Choice(Base):
    name: Literal["choice"] = "choice"
"""


@pytest.mark.parametrize("header", ["", "from __future__ import annotations\n"])
def test_a_class_that_states_its_name_is_a_choice_however_annotations_are_kept(
    header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"of_ones_own_{len(header)}"
    (tmp_path / f"{module}.py").write_text(header + FILE)
    (tmp_path / f"{module}_misnamed.py").write_text(header + FILE.replace('Literal["choice"]', "str"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match=r"Choice must state its name as a Literal, not <class 'str'>"):
        importlib.import_module(f"{module}_misnamed")
    mine = importlib.import_module(module)
    assert mine.Kind.registry == {"choice": mine.Choice}
