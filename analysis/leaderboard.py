"""Every method of distillation on one page, from records: `python -m analysis.leaderboard > docs/leaderboard.md`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from tabulate import tabulate

from analysis.cells import describe, percent, plain, whole, with_interval
from analysis.intervals import Interval, interval
from analysis.online import online_section
from analysis.source import print_page
from analysis.tables import StudyTable, study_table
from repro.experiments.method_tries import WITHOUT_TEACHER, MethodName
from repro.experiments.methods import MERGES, PROTOCOLS, WEIGHTS, DataName, Methods, TeacherKind
from repro.experiments.study import Preset
from repro.records import Records
from repro.usage.options import Parser

FAMILIES: dict[str, tuple[MethodName, ...]] = {
    "no teacher": ("independent", "label_smoothing"),
    "response": ("hard_labels", "soft_labels", "logit_mse", "decoupled"),
    "feature": ("hint", "hidden_cosine", "attention_transfer", "flow"),
    "relation": ("relational", "similarity", "correlation"),
    "contrast": ("contrastive",),
    "each other": WITHOUT_TEACHER,
}
FAMILY_OF: dict[str, str] = {method: family for family, methods in FAMILIES.items() for method in methods}
TEACHERS: dict[TeacherKind, str] = {
    "same": "one teacher of the student's architecture",
    "larger": "one larger teacher",
    "ensemble": "an ensemble of three teachers",
    "weighted": f"an ensemble of three teachers, weighted {', '.join(map(str, WEIGHTS))}",
    "disjoint": "two teachers that know half of the classes each, merged",
}
HEADER = """# Leaderboard: which method comes closest to its teacher?

Made by `python -m analysis.leaderboard > docs/leaderboard.md` from the records in `results/`. The study, its budget and
how settings were chosen: [studies.md](studies.md), `methods`; the methods: [methods.md](methods.md). All values are of
the test images, but for those *on train*, which are of the images a student was distilled on (of controls: of those it
learned from). *Control*: agreement of students of other trials with this teacher; *specific*: agreement above it, with
its 95 % interval ([statistics.md](statistics.md)), over what each table says: test images count where the records hold
them one by one. CKA: of each stage with the teacher's, where there is one teacher. Otherwise mean ± standard deviation
over the trials. `repro bench fidelity --method FILE.py` gives a method of your own its row.
"""


@dataclass(frozen=True)
class Column:
    """A column of the table: a quantity of `StudyTable`, and how it is written."""

    title: str
    quantities: tuple[str, ...]
    write: Callable[[Interval], str]


COLUMNS = (
    Column("agreement %", ("student_agreement",), percent),
    Column("specific", ("specific_agreement",), with_interval),
    Column("control %", ("control_agreement",), percent),
    Column("KL", ("student_kl",), plain),
    Column("accuracy %", ("student_accuracy",), percent),
    Column("NLL", ("student_nll",), plain),
    Column("ECE", ("student_ece",), plain),
    Column("agreement on train %", ("train_agreement",), percent),
    Column("KL on train", ("train_kl",), plain),
    Column("CKA", ("cka_stage1", "cka_stage2", "cka_stage3", "cka_hidden"), lambda value: f"{value.estimate:.2f}"),
    Column("seconds", ("seconds",), whole),
)


def row_of(table: StudyTable, method: str, **settings: str) -> list[str]:
    """What the columns say of one condition."""
    cells = []
    for column in COLUMNS:
        known = [name for name in column.quantities if name in table.rows]
        values = [interval(table.sample(name, method=method, **settings)) for name in known]
        cells.append(" ".join(column.write(value) for value in values if value.estimate == value.estimate) or "-")
    return cells


def section(table: StudyTable, data: DataName, teacher: TeacherKind) -> str:
    """The methods with this kind of teacher, the most faithful first. Empty without runs."""
    if table.rows.empty:
        return ""
    rows = table.rows[(table.rows["teacher"] == teacher) & (table.rows["data"] == data)]
    if rows.empty:
        return ""
    ranked = rows.groupby("method")["student_agreement"].mean().sort_values(ascending=False).index
    lines = []
    for place, method in enumerate(ranked, start=1):
        point = Methods(preset=table.preset, data=data, method=method, teacher=teacher)
        cells = row_of(table, method, teacher=teacher, data=data)
        lines.append([place, method, FAMILY_OF[method], describe(point.setting()), *cells])
    trials = sorted(set(rows.groupby("method")["trial"].nunique()))
    quality = [f"{100 * rows['teacher_accuracy'].mean():.1f} % accuracy", f"NLL {rows['teacher_nll'].mean():.3f}"]
    quality.append(f"ECE {rows['teacher_ece'].mean():.3f}")
    asked = {missing.settings["method"] for missing in table.missing if missing.settings["teacher"] == teacher}
    missing = len(asked - set(ranked))
    heading = f"### {TEACHERS[teacher][0].upper()}{TEACHERS[teacher][1:]}"
    specific = [table.sample("specific_agreement", method=method, teacher=teacher, data=data) for method in ranked]
    scopes = sorted({interval(sample).scope for sample in specific if len(sample)})
    over = " or ".join(scope.replace("examples", "test images") for scope in scopes)
    said = f"Teacher: {', '.join(quality)}. n = {' or '.join(map(str, trials))} trials."
    said += f" Intervals: over {over}." if over else ""
    said += f" Not run: {missing} methods." if missing else ""
    headers = ["", "method", "family", "setting", *(column.title for column in COLUMNS)]
    return f"{heading}\n\n{said}\n\n{tabulate(lines, headers, tablefmt='github', disable_numparse=True)}\n"


def leaderboard(records: Records) -> str:
    """The page as Markdown."""
    parts = [HEADER]
    for data in get_args(DataName):
        found = []
        for preset in get_args(Preset)[:2]:
            table = study_table(records, f"methods_{data}", preset)
            protocol = PROTOCOLS[data, preset]
            several = study_table(records, "methods_several_teachers", preset)
            texts = [section(several if teacher in MERGES else table, data, teacher) for teacher in TEACHERS]
            texts.append(online_section(study_table(records, "methods_online", preset), data))
            sections = [text for text in texts if text]
            if sections:
                what = f"{protocol.images:,} images, {protocol.epochs} epochs with one teacher; teachers learn from "
                what += f"{protocol.labeled:,} of them."
                found.append("\n".join([f"## {data}, preset {preset}", "", what, "", *sections]))
        parts += found or [f"## {data}\n\nNot run: `repro launch sweeps/methods_{data}.yaml`.\n"]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page."""
    parser = Parser(description="Make docs/leaderboard.md from records (results).")
    return print_page(parser, lambda records, _: leaderboard(records), arguments)


if __name__ == "__main__":
    sys.exit(main())
