"""A requested run: with its config, or as plain data."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing the training code takes seconds
    from repro.config import RunConfig


@dataclass(frozen=True)
class Request:
    """A requested run and the name under which the user knows it.

    `condition` and `trial` distinguish it from the other runs of a sweep. A parent takes these, `study` and `preset`
    from its first child. `forgiven` is the time of the failure that is to be retried, if any: a failure at any other
    time is from another launch's attempt, and is left alone. `left` is the fraction of the run that is still to be
    made; 1 if nobody has looked.
    """

    label: str
    config: "RunConfig"
    condition: str = ""
    trial: int | None = None
    study: str = ""
    preset: str = ""
    forgiven: str | None = None
    left: float = 1.0

    @property
    def tags(self) -> tuple[str, ...]:
        """Study, preset and condition, as tags to filter by in W&B."""
        return tuple(tag for tag in (self.study, self.preset, self.condition) if tag)

    @functools.cached_property  # hashing a config takes half a millisecond, and plans are long
    def run_id(self) -> str:
        return self.config.run_id

    @functools.cached_property
    def parents(self) -> tuple[tuple[str, str], ...]:
        """(kind, run id) of every run whose result this one needs."""
        return tuple((parent.kind, parent.run_id) for parent in self.config.parents())

    @property
    def parent_ids(self) -> list[str]:
        return [run_id for _, run_id in self.parents]


@dataclass(frozen=True)
class Order:
    """A request as plain data, for processes that do not train and so need not import the training code.

    `parents` are (kind, run id).
    """

    label: str
    run_id: str
    parents: tuple[tuple[str, str], ...]
    config: dict[str, Any]
    forgiven: str | None = None
    tags: tuple[str, ...] = ()


def order(request: Request) -> Order:
    """The request as plain data."""
    config = request.config.model_dump(mode="json")
    return Order(request.label, request.run_id, request.parents, config, request.forgiven, request.tags)
