"""What the report says, before it is laid out: claims, a section per figure, every run."""

import base64
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from analysis.changes import UNCHANGED, Changes
from analysis.claims import CLAIMS, Judgement, Verdict, judge, statement
from analysis.drawing.panels import Evidence
from analysis.drawing.style import as_png
from analysis.figure import PaperFigure, file_stem
from analysis.figures import NAMES, find_figure
from analysis.report.against_paper import Comparison, against_paper
from analysis.report.provenance import Provenance, provenance
from analysis.tables import StudyTable, StudyTables
from repro.config import parse_config
from repro.experiments.study import Preset, find_study
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep, study_of
from repro.records import Disagreement, Record, Records, disagreements

PICTURE_DOTS_PER_INCH = 150
PAPER_CLAIMS = tuple(claim for claim in CLAIMS if claim.removeprefix("C").isdecimal())


@dataclass(frozen=True)
class Picture:
    """A figure at one preset, and what the report says about it."""

    preset: Preset
    alternative_text: str
    png: str
    """base64"""
    comparisons: Sequence[Comparison]
    provenance: Provenance | None
    """None for an overview of all studies."""
    done: int
    expected: int
    commands: Sequence[str]
    """The commands that make the missing runs; empty if none is missing."""


@dataclass(frozen=True)
class Section:
    """A figure or table of the paper, or one beyond it."""

    anchor: str
    title: str
    about: Sequence[str]
    """Paragraphs on the studies behind it: question, conditions, what the paper found, our choices."""
    pictures: Sequence[Picture]
    commands: Sequence[str]
    refusal: str
    """Why it cannot be drawn for runs with the changes; empty if it can."""


@dataclass(frozen=True)
class Contents:
    source: str
    changes: Sequence[str]
    """The changes to the configs of all runs, as `key=value`; empty for the sweeps' own configs."""
    claims: Sequence[Judgement]
    """Each claim's verdicts at every preset with trials for it; if there is none, a single one that says not run."""
    sections: Sequence[Section]
    runs: Sequence[Record]
    """All runs in the source; with changes, only the runs that have them, and their parents."""
    totals: Provenance
    disagreements: Sequence[Disagreement]
    """Runs of which there are differing copies; files are given as paths within the source."""

    @property
    def verdicts(self) -> Mapping[Preset, Mapping[Verdict, int]]:
        """How many of the paper's claims have each verdict, at each preset with trials for any, or else at `paper`."""
        presets = [one for one in get_args(Preset) if any(claim.n and claim.preset == one for claim in self.claims)]
        by_preset: dict[Preset, dict[Verdict, int]] = {}
        for preset in presets or ["paper"]:
            found = [one.verdict for one in self.claims if one.n and one.preset == preset and one.claim in PAPER_CLAIMS]
            found += ["not run"] * (len(PAPER_CLAIMS) - len(found))
            by_preset[preset] = {verdict: found.count(verdict) for verdict in get_args(Verdict)}
        return by_preset


def gather(records: Records, changes: Changes = UNCHANGED) -> Contents:
    """Everything the report says about these records. Raises BadInput if no sweep's runs can have the changes."""
    tables = StudyTables(records, changes)
    tables.check([find_figure(name).sweeps for name in NAMES])
    sections = [_section(find_figure(name), tables) for name in NAMES]
    presets = [preset for preset in get_args(Preset) if any(p.preset == preset for s in sections for p in s.pictures)]
    run_ids = _with_parents(tables.run_ids(), records) if changes else records.ids()
    runs = [records.record(run_id) for run_id in run_ids]
    return Contents(
        source=Path(records.name).name,
        changes=changes.texts,
        claims=_claims(tables, presets),
        sections=sections,
        runs=sorted(runs, key=lambda run: (run.kind, run.label, run.run_id)),
        totals=provenance(runs, {}),
        disagreements=[
            replace(one, first=_within(one.first, records), other=_within(one.other, records))
            for one in disagreements(records)
            if one.run_id in run_ids
        ],
    )


def _with_parents(run_ids: Iterable[str], records: Records) -> list[str]:
    """The runs and their parents, as far as the records have them."""
    configs = [parse_config(dict(records.record(run_id).config)) for run_id in run_ids]
    needed = parents_first(Request("", config) for config in configs)
    return [request.run_id for request in needed if records.has(request.run_id)]


def _within(file: str, records: Records) -> str:
    return Path(file).relative_to(records.name).as_posix()


def _claims(tables: StudyTables, presets: Sequence[Preset]) -> list[Judgement]:
    """Sorted by claim, and for each claim by preset, `paper` first."""
    judged = {preset: {one.claim: one for one in judge(tables, preset)} for preset in presets}
    rows = []
    for claim in CLAIMS:
        found = [by_claim[claim] for by_claim in judged.values() if by_claim[claim].n]
        rows += found or [_not_run(claim, judged, tables.changes)]
    return rows


def _not_run(claim: str, judged: Mapping[Preset, Mapping[str, Judgement]], changes: Changes) -> Judgement:
    for by_claim in judged.values():
        return by_claim[claim]
    return Judgement(claim, changes.rename_networks(statement(claim)), "paper", "not run", 0, (), ())


def _section(figure: PaperFigure, tables: StudyTables) -> Section:
    pictures = []
    for preset in get_args(Preset):
        if figure.has_runs(tables, preset):
            pictures.append(_picture(figure, figure.evidence(tables, preset), tables, preset))
    return Section(
        anchor=file_stem(figure.name),
        title=figure.heading(tables.changes),
        about=() if figure.overview else _about(figure),
        pictures=pictures,
        commands=figure.commands(tables),
        refusal=tables.refusal(figure.sweeps),
    )


def _picture(figure: PaperFigure, evidence: Evidence, tables: StudyTables, preset: Preset) -> Picture:
    drawn = as_png(figure.picture(evidence, preset), PICTURE_DOTS_PER_INCH)
    own_tables = [tables(sweep, preset) for sweep in figure.sweeps]
    done, expected = evidence.counts
    return Picture(
        preset=preset,
        alternative_text=f"{figure.heading(tables.changes)}, preset {preset}. The values are in the table below.",
        png=base64.b64encode(drawn).decode(),
        comparisons=against_paper(figure, evidence, own_tables),
        provenance=None if figure.overview else _provenance(evidence, own_tables),
        done=done,
        expected=expected,
        commands=() if figure.overview else figure.missing_commands(evidence, preset),
    )


def _provenance(evidence: Evidence, tables: Sequence[StudyTable]) -> Provenance:
    students = [evidence.records.record(run_id) for run_id in evidence.table["run_id"]]
    return provenance([*students, *_teachers(students, evidence.records)], _studies_of(tables))


def _teachers(students: Sequence[Record], records: Records) -> list[Record]:
    ids = dict.fromkeys(teacher for student in students for teacher in student.teachers)
    return [records.record(run_id) for run_id in ids if records.has(run_id)]


def _studies_of(tables: Sequence[StudyTable]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Run id -> its study and settings."""
    return {
        row["run_id"]: (study, {name: row[name] for name in ("trial", *table.conditions)})
        for table, study in ((table, study_of(find_sweep(table.sweep))) for table in tables)
        for row in table.rows.to_dict("records")
    }


def _about(figure: PaperFigure) -> list[str]:
    """The docstrings of the figure's studies, in paragraphs."""
    studies = dict.fromkeys(study_of(find_sweep(sweep)) for sweep in figure.sweeps)
    text = "\n\n".join(inspect.getdoc(find_study(study)) or "" for study in studies)
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph]
