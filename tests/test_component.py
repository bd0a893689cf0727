"""What makes a class one of the parts that a config can choose by name."""

import importlib
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from repro.component import Component, Schema, discover
from repro.errors import BadInput

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


ABSTRACT = """
    shape: ClassVar[int]

    @abc.abstractmethod
    def load(self) -> None: ...

    size:"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("    size:", ABSTRACT), "Choice must define load, shape"),
        (('= "choice"', '= "chioce"'), "Choice: its name is 'choice' by type and 'chioce' by default"),
    ],
)
def test_a_choice_is_whole_and_a_file_that_defines_another_is_told_in_one_line(
    change: tuple[str, str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / f"parts_of_ones_own_{len(problem)}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    text = "import abc\n" + FILE.replace("import Literal", "import ClassVar, Literal")
    (package / "mine.py").write_text(text.replace(*change))
    monkeypatch.syspath_prepend(tmp_path)
    told = f"^{package.name}.mine cannot be imported: TypeError: {package.name}.mine.{problem} "
    with pytest.raises(BadInput, match=told):
        discover(importlib.import_module(package.name))


def test_a_default_is_the_value_that_its_type_makes_of_it() -> None:
    """A run would otherwise have one id with the default, and another once it was read from its record."""

    class Own(Schema):
        width: float = 1
        share: float = Field(default=0.0, gt=0.0)

    assert Own(share=1).model_dump_json() == '{"width":1.0,"share":1.0}'
    with pytest.raises(ValueError, match="share\n  Input should be greater than 0"):
        Own()


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


def test_an_option_that_could_change_is_refused() -> None:
    """The suite looks configs up by their options, which a list cannot do."""

    class Kind(Component):
        name: str

    class Choice(Kind):
        name: Literal["choice"] = "choice"
        widths: list[int] = [16, 8]  # noqa: RUF012

    with pytest.raises(ValidationError, match="Choice, option 'widths': unhashable type: 'list'; declare it as a tup"):
        Choice()
