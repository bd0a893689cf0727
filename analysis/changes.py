"""Config keys that are changed in all runs that an analysis looks at, written as for `repro launch`."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repro.config import RunConfig
from repro.errors import BadInput
from repro.experiments.study import Study
from repro.launch.sweep import changed_config, parse_settings

NETWORK = r"(?:an? )?(?:(?:LeNet|ResNet|VGG)-\d+|Transformer|LSTM)"
"""A network in a figure's title or in a claim."""


@dataclass(frozen=True)
class Changes:
    """What `repro launch SWEEP precision=bfloat16` changes in every run of a sweep; by default nothing."""

    values: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    """The same changes as typed."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Changes":
        """From `["precision=bfloat16"]`. Raises BadInput."""
        return cls(parse_settings(list(texts)), tuple(texts))

    def __str__(self) -> str:
        return ", ".join(self.texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    @property
    def arguments(self) -> str:
        """The changes as arguments of a command, each preceded by a space."""
        return "".join(f" {shlex.quote(text)}" for text in self.texts)

    def rename_networks(self, text: str) -> str:
        """A title or claim, without the networks that it names if the changes replace them."""
        if not any("model" in key.split(".") for key in self.values):
            return text
        return re.sub(NETWORK, "[changed network]", re.sub(rf" \({NETWORK}\)", "", text))

    def config(self, study: Study) -> RunConfig:
        """The study's config with the changes.

        Raises BadInput where `repro launch` does, and also for a setting of the study: changing it would replace what a
        figure compares.
        """
        for key in self.values:
            if key in type(study).model_fields:
                problem = f"'{key}' is a setting of the study {study.name}, and figures show all of its values"
                raise BadInput(f"{problem}; give keys of a run's config instead, such as precision=bfloat16")
        return changed_config(study, self.values)

    def run_ids(self, points: Sequence[Study]) -> dict[Study, str]:
        """The ids of these points' runs with the changes.

        Raises BadInput where `config` does, and also if conditions or trials would become the same run, which figures
        would show several times.
        """
        ids = {point: self.config(point).run_id for point in points}
        if self and len(set(ids.values())) < len({point.config().run_id for point in points}):
            raise BadInput(f"with {self}, runs that the study {points[0].name} compares become the same run")
        return ids


UNCHANGED = Changes()
