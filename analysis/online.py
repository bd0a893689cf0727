"""Do peers, or a network's exits, agree more when they teach each other? A section of the leaderboard."""

import dataclasses
import functools
from collections.abc import Iterator

from tabulate import tabulate

from analysis.formats import describe, percent, plain, whole, with_interval
from analysis.statistics.intervals import Interval, interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTable
from repro.experiments.method_tries import MethodName
from repro.experiments.methods import DataName, Methods

CONTROL_OF: dict[MethodName, MethodName] = {
    "mutual_learning": "independent_peers",
    "codistillation": "independent_peers",
    "own_exits": "independent_exits",
}
PREFIX = "student_companion_"
SAID = """Networks, or exits of one network, learn the labels side by side. *Together*: the test agreement of the
student with its peers (of the whole network with its exits), averaged over them. *More than alone*: the difference
from the control listed above, whose peers or exits learn nothing from each other, paired by trial, with its 95 %
interval over trials. *Agreement with a teacher*: with the usual teacher, which none of them ever saw; after the
slash, the agreement of students of other trials with that teacher."""


def online_section(table: StudyTable, data: DataName) -> str:
    """The schemes without a trained teacher, each below its control. Empty if there are no runs."""
    if table.rows.empty or not (table.rows["data"] == data).any():
        return ""
    rows = table.rows[table.rows["data"] == data]
    done = with_companions(dataclasses.replace(table, rows=rows))
    lines = []
    for method in _each_below_its_control(list(rows["method"].unique())):
        point = Methods(preset=table.preset, data=data, method=method)
        value = functools.partial(_value, done, method)
        lines.append(
            [
                method,
                describe(point.setting()),
                point.config().epochs,
                percent(value("companion_agreement")),
                with_interval(interval(gain)) if (gain := more_than_alone(done, method)) else "-",
                percent(value("companion_accuracy")),
                percent(value("student_accuracy")),
                plain(value("student_nll")),
                plain(value("student_ece")),
                f"{percent(value('student_agreement'))} / {percent(value('control_agreement'))}",
                whole(value("seconds")),
            ]
        )
    headers = ["", "setting", "epochs", "together %", "more than alone", "peers' or exits' accuracy %", "accuracy %"]
    headers += ["NLL", "ECE", "agreement with a teacher / others %", "seconds"]
    trials = " or ".join(str(count) for count in sorted(set(rows.groupby("method")["trial"].nunique())))
    text = f"### Peers and exits that teach each other\n\n{SAID} n = {trials} trials.\n\n"
    return text + tabulate(lines, headers, tablefmt="github", disable_numparse=True) + "\n"


def _value(table: StudyTable, method: MethodName, quantity: str) -> Interval:
    return interval(table.sample(quantity, method=method))


def with_companions(table: StudyTable) -> StudyTable:
    """The table with `companion_agreement` and `companion_accuracy`, the means over each run's peers or exits."""
    rows = table.rows.copy()
    for metric in ("agreement", "accuracy"):
        columns = [name for name in map(str, rows) if name.startswith(PREFIX) and name.endswith(f"_{metric}")]
        rows[f"companion_{metric}"] = rows[columns].mean(axis=1)
    return dataclasses.replace(table, rows=rows)


def more_than_alone(table: StudyTable, method: MethodName) -> Sample | None:
    """The scheme's agreement minus its control's, trial by trial; None for a control, or if the control has not run."""
    control = CONTROL_OF.get(method)
    if control is None or not (table.rows["method"] == control).any():
        return None
    ours, alone = (table.sample("companion_agreement", method=one) for one in (method, control))
    return ours - alone


def _each_below_its_control(methods: list[MethodName]) -> Iterator[MethodName]:
    yield from sorted(methods, key=lambda method: (CONTROL_OF.get(method, method), method in CONTROL_OF, method))
