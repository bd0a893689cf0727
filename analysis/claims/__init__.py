"""The paper's claims as code: each a function of the evidence that returns its tests, thresholds included."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from analysis.claims import data, optimization, scope
from analysis.claims.evidence import Evidence
from analysis.claims.verdict import Part, Test, Verdict, judge_tests
from analysis.tables import StudyTables
from repro.experiments.study import Preset

CLAIMS: dict[str, Callable[[Evidence], list[Test]]] = {
    "C1": data.c1,
    "C2": data.c2,
    "C3": data.c3,
    "C4": data.c4,
    "C5": data.c5,
    "C6": data.c6,
    "C7": data.c7,
    "C8": data.c8,
    "C8 ResNet-20": data.c8_resnet20,
    "C9": data.c9,
    "C10": optimization.c10,
    "C11": optimization.c11,
    "C11 scaled": optimization.c11_scaled,
    "C12": optimization.c12,
    "C13": scope.c13,
    "C14": scope.c14,
    "C15": scope.c15,
    "C16": scope.c16,
    "C17": scope.c17,
}
"""As the paper's claims are numbered. `C11 scaled` is not the paper's, but tells two explanations of C11 apart, and
`C8 ResNet-20` asks the question of C8 of a smaller network."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on one claim at one preset.

    statement: the claim in words, without the networks that changes to the configs replace. n: trials behind it, the
    fewest of any test that was run; 0 if none was. missing: the commands of the runs that it asks for and that are not
    done.
    """

    claim: str
    statement: str
    preset: Preset
    verdict: Verdict
    n: int
    parts: tuple[Part, ...]
    missing: tuple[str, ...]


def statement(claim: str) -> str:
    """The claim in words."""
    return " ".join((inspect.getdoc(CLAIMS[claim]) or "").split())


def judge(study_tables: StudyTables, preset: Preset) -> list[Judgement]:
    """The verdict on every claim from the runs of one preset alone."""
    evidence = Evidence(study_tables, preset)
    judgements = []
    for claim, tests_of in CLAIMS.items():
        evidence.missing.clear()
        verdict, parts = judge_tests(tests_of(evidence))
        n = min((part.interval.trials for part in parts if part.interval.trials), default=0)
        words = study_tables.changes.rename_networks(statement(claim))
        judgements.append(Judgement(claim, words, preset, verdict, n, parts, tuple(evidence.missing)))
    return judgements


__all__ = ["CLAIMS", "Evidence", "Judgement", "Part", "Test", "Verdict", "judge", "judge_tests", "statement"]
