"""What a run was requested as, which its record does not contain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """A run's name, group and tags in W&B.

    text: as `repro status` shows it. group: the sweep, or the study if a single run was requested. tags: study,
    preset and, if there is one, condition; or empty.
    """

    text: str
    group: str
    tags: tuple[str, ...] = ()

    def asked_for(self) -> dict[str, str]:
        """Study, preset and condition by name."""
        return dict(zip(("study", "preset", "condition"), self.tags, strict=False))
