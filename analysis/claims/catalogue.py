"""`docs/claims.md`, from the claims' own words and tests: `python -m analysis.claims.catalogue > docs/claims.md`."""

from pathlib import Path

from analysis.claims import CLAIMS, Evidence, statement
from analysis.tables import StudyTables
from repro.records import open_records

HEADER = """# Claims

The paper's claims as this suite tests them. Thresholds were fixed before results were looked at, unless the claim says
otherwise. [statistics.md](statistics.md) explains how a verdict follows from a test. Quantities are measured on the
test set unless they say train; differences are paired by trial. A mean over m is over the ensemble sizes that were run.

This page is generated from `analysis/claims/` by `python -m analysis.claims.catalogue > docs/claims.md`.
"""


def catalogue() -> str:
    """The whole page as Markdown."""
    sections = [HEADER]
    nothing = Evidence(StudyTables(open_records(Path("no runs"))), "paper")
    for claim, tests in CLAIMS.items():
        lines = [f"## {claim}", "", statement(claim), "", "| what | supported if |", "|---|---|"]
        lines += [f"| {test.what} | {test.threshold} |" for test in tests(nothing)]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(catalogue(), end="")
