"""As what a run was asked for: what its record does not know of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """How a run is called in W&B.

    text: as `repro status` shows it. group: the sweep, or the study where a single run was asked for. tags: study,
    preset, condition.
    """

    text: str
    group: str
    tags: tuple[str, ...] = ()
