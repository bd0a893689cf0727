"""`docs/claims.md`, from the claims' own words and tests: `python -m analysis.claims.catalogue > docs/claims.md`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.claims import CLAIMS, statement
from analysis.statistics.sample import Sample
from repro.launch.sweep import find_sweep, sweep_studies

HEADER = """# Claims

The paper's claims as this suite tests them. Thresholds were fixed before results were looked at, unless the claim says
otherwise. [statistics.md](statistics.md) explains how a verdict follows from a test. Quantities are measured on the
test set unless they say train; differences are paired by trial. A mean over m is over the ensemble sizes that were run.

This page is generated from `analysis/claims/` by `python -m analysis.claims.catalogue > docs/claims.md`.
"""


class NoEvidence:
    """Nothing was run."""

    def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:  # noqa: ARG002
        return Sample((), np.zeros(0), None)

    def choices(self, sweep: str, setting: str) -> Sequence[Any]:
        return list(dict.fromkeys(point.settings()[setting] for point in sweep_studies(find_sweep(sweep), {})))


def catalogue() -> str:
    """The whole page as Markdown."""
    sections = [HEADER]
    for claim, tests in CLAIMS.items():
        lines = [f"## {claim}", "", statement(claim), "", "| what | supported if |", "|---|---|"]
        lines += [f"| {test.what} | {test.threshold} |" for test in tests(NoEvidence())]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(catalogue(), end="")
