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


def test_a_choice_sets_every_variable_of_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FILE.replace("import Literal", "import ClassVar, Literal")
    (tmp_path / "without_shape.py").write_text(text.replace("    size:", "    shape: ClassVar[int]\n    size:"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match=r"^without_shape\.Choice must set shape$"):
        importlib.import_module("without_shape")


def test_a_name_belongs_to_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first_of_two.py").write_text(FILE)
    (tmp_path / "second_of_two.py").write_text(
        FILE.replace("class Kind(Component):\n    name: str\n", "from first_of_two import Kind\n")
    )
    monkeypatch.syspath_prepend(tmp_path)
    first = importlib.import_module("first_of_two")
    with pytest.raises(TypeError, match="second_of_two and first_of_two both define the component 'choice'"):
        importlib.import_module("second_of_two")
    assert importlib.reload(first).Kind.registry["choice"].__module__ == "first_of_two"
