"""The base class of studies: one question as a small schema, whose settings determine one run config."""

import inspect
from abc import abstractmethod
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, ValidationError

from repro import experiments
from repro.component import Component, discover
from repro.config import RunConfig, as_json
from repro.config.errors import explain
from repro.errors import BadInput, did_you_mean

Preset = Literal["paper", "short", "smoke"]


class Study(Component):
    """One figure or table of the paper. Subclasses add the settings of its conditions as fields.

    `preset` chooses the protocol: `paper` (the paper's own), `short` (a meaningful version at about 1 % of the
    cost), `smoke` (seconds, without data files). `trial` numbers repetitions; their teachers are disjoint.
    """

    name: str
    preset: Preset = "paper"
    trial: int = Field(default=0, ge=0)
    figures: ClassVar[str] = "none"
    """The figures of the paper that its runs make, as docs/studies.md lists them."""

    @abstractmethod
    def config(self) -> RunConfig:
        """The config of the run with these settings, including its teachers."""

    @classmethod
    def headline(cls) -> str:
        """The first line of the study's docstring; empty if it has none."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]

    def settings(self) -> dict[str, Any]:
        """The settings that distinguish this run from the others of the study."""
        return self.model_dump(exclude={"name"})

    def label(self) -> str:
        """The study and its settings in readable form: `lenet_mnist pool=0.25 trial=1 (short)`."""
        settings = self.settings()
        preset = settings.pop("preset")
        return " ".join([self.name, *(f"{key}={value}" for key, value in settings.items()), f"({preset})"])


def studies() -> dict[str, type[Study]]:
    """Every study by name."""
    discover(experiments)
    return dict(sorted(cast(dict[str, type[Study]], Study.registry).items()))


def find_study(name: str) -> type[Study]:
    """The study called `name`. Raises BadInput for an unknown name, suggesting the nearest one."""
    known = studies()
    if name not in known:
        raise BadInput(f"no study is called '{name}'{did_you_mean(name, known)}")
    return known[name]


def parse_study(study: type[Study], settings: dict[str, Any]) -> Study:
    """The study with these settings. If one is invalid, raises BadInput: one line with the key and the valid values."""
    content = {"name": study.model_fields["name"].default, **settings}
    try:
        return study.model_validate_json(as_json(content))
    except ValidationError as error:
        problem = explain(error, content, (study,), noun="setting")
        raise BadInput(f"{study.model_fields['name'].default}: {problem}", problem.key) from error
