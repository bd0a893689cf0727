"""As what a run was asked for: what its record does not know of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """How a run is called in W&B.

    text: as `repro status` shows it. group: the sweep, or the study where a single run was asked for. tags: study,
    preset and, where there is one, condition; or none of them.
    """

    text: str
    group: str
    tags: tuple[str, ...] = ()

    def asked_for(self) -> dict[str, str]:
        """Study, preset and condition by name."""
        return dict(zip(("study", "preset", "condition"), self.tags, strict=False))
