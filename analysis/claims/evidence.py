"""What the claims are functions of: quantities of conditions, from the study tables of one preset."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from analysis.claims.verdict import FEWEST_TRIALS
from analysis.statistics.sample import Sample, mean
from analysis.tables import Missing, StudyTables
from repro.experiments.study import Preset
from repro.launch.sweep import find_sweep, sweep_studies


class Evidence:
    """The evidence of one preset in the study tables, and a note of what was asked for and is missing.

    A sweep is named as its file in sweeps/.
    """

    def __init__(self, tables: StudyTables, preset: Preset) -> None:
        self.tables = tables
        self.preset = preset
        self.missing: dict[str, Missing] = {}

    def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
        """A column of the sweep's table in one condition; empty where nothing was run."""
        table = self.tables(sweep, self.preset)
        for run in table.missing:
            if all(run.settings[name] == value for name, value in settings.items()):
                self.missing[run.command] = run
        return table.sample(quantity, **settings)

    def choices(self, sweep: str, setting: str) -> Sequence[Any]:
        """The values of a setting that the sweep asks for, done or not."""
        points = sweep_studies(find_sweep(sweep), {"preset": self.preset})
        return list(dict.fromkeys(point.settings()[setting] for point in points))


MEMBERS = (1, 3, 5)
"""Ensemble sizes."""

Settings: TypeAlias = dict[str, Any]


def difference(evidence: Evidence, sweep: str, quantity: str, one: Settings, minus: Settings, **shared: Any) -> Sample:
    """A quantity in the condition `one` minus that in the condition `minus`, both with the `shared` settings."""
    first, second = (evidence.sample(sweep, quantity, **settings, **shared) for settings in (one, minus))
    return first - second


def mean_difference(
    evidence: Evidence, sweep: str, quantity: str, one: Settings, minus: Settings
) -> tuple[Sample, str]:
    """`difference`, averaged over the ensemble sizes for which it is there, and which these are: `mean over m = 1, 3`.

    Sizes with fewer trials than 2 are left out as long as another has more.
    """
    samples = {m: difference(evidence, sweep, quantity, one, minus, members=m) for m in MEMBERS}
    return mean_over(samples)


def mean_over(samples: dict[int, Sample]) -> tuple[Sample, str]:
    """The mean over ensemble sizes, as for `mean_difference`."""
    enough = {m: sample for m, sample in samples.items() if len(sample) >= FEWEST_TRIALS}
    chosen = enough or {m: sample for m, sample in samples.items() if len(sample)} or samples
    return mean(list(chosen.values())), f"mean over m = {', '.join(map(str, chosen))}"
