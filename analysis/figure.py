"""What a figure of the suite is, and how it is drawn from records: one picture per preset, never two presets in one."""

import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from matplotlib.figure import Figure

from analysis.changes import Changes
from analysis.drawing.grid import draw_grid
from analysis.drawing.panels import Evidence, Panel, cells, matching
from analysis.drawing.style import finish, save, use_style
from analysis.paper import paper_table
from analysis.tables import StudyTable, StudyTables
from repro import cli
from repro.errors import BadInput
from repro.experiments.study import Preset

PRESET_NOTES = {
    "paper": "The paper's protocol",
    "short": "Preset short: much less training than preset paper, so levels differ",
    "smoke": "Preset smoke: a test of the machinery, not a result",
}

NOTE_WIDTH = 96
"""Characters that fit on a line under the title."""
MOST_COMMANDS = 4
"""The most commands that a header lists one by one."""


def file_stem(name: str) -> str:
    """`figure_10` for the figure `10`, and `table_1` for `table_1`: the beginning of its files' names."""
    return f"figure_{name}" if name[0].isdigit() else name


@dataclass(frozen=True)
class PaperFigure:
    """A figure or table: which runs it needs, and its panels."""

    name: str
    title: str
    sweeps: tuple[str, ...]
    """The files in sweeps/ whose runs it shows."""
    panels: Sequence[Sequence[Panel]] = ()
    only: Mapping[str, Any] = field(default_factory=dict)
    """Show only the sweeps' conditions with these settings; a tuple matches any of its values."""
    row_height: float = 2.0
    share_y: bool = False
    draw: Callable[[Evidence], Figure] | None = None
    """Draws a figure that is not a plain grid of panels."""
    caption: str = ""
    """Follows the note on error bars and n; figures without panels have no such note."""
    overview: bool = False
    """Whether it shows all studies at once; their own figures report cost, protocol and what is missing."""
    remedy: Callable[[Evidence | None], Sequence[str]] = lambda _: ()
    """Commands that a figure needs in addition to its sweeps: those not done yet or, given None, all."""

    def evidence(self, tables_of: StudyTables, preset: Preset) -> Evidence:
        """Everything that the figure is drawn from at this preset."""
        tables = {sweep: tables_of(sweep, preset) for sweep in self.sweeps}
        rows = pd.concat([table.rows.assign(sweep=sweep) for sweep, table in tables.items()], ignore_index=True)
        asked = pd.concat([_settings(table).assign(sweep=sweep) for sweep, table in tables.items()], ignore_index=True)
        paper = pd.concat([paper_table(sweep).assign(sweep=sweep) for sweep in self.sweeps], ignore_index=True)
        left_out = [sweep for sweep, table in tables.items() if table.refusal]
        return Evidence(rows, asked, paper, tables_of.records, tables_of.changes, left_out).where(self.only)

    def has_runs(self, tables_of: StudyTables, preset: Preset) -> bool:
        """Whether there is anything to draw at this preset."""
        return any(len(matching(tables_of(sweep, preset).rows, self.only)) for sweep in self.sweeps)

    def picture(self, evidence: Evidence, preset: Preset) -> Figure:
        """The finished figure."""
        use_style()
        figure = self.draw(evidence) if self.draw else draw_grid(self.panels, evidence, self.row_height, self.share_y)
        finish(figure, self.heading(evidence.changes), self.notes(evidence, preset))
        return figure

    def heading(self, changes: Changes) -> str:
        """The title, without the networks that it names if the changes replace them."""
        return changes.rename_networks(self.title)

    def notes(self, evidence: Evidence, preset: Preset) -> list[str]:
        """The header's lines: protocol, error bars and numbers of trials, what is missing and how to make it."""
        spread = _spread(self._trials(evidence), dots=not self.name.startswith("table")) if self.panels else ""
        protocol = f"{PRESET_NOTES[preset]}."
        if evidence.changes:
            protocol = f"Preset {preset}, but all runs with {evidence.changes}."
        if evidence.left_out:
            why = "their runs cannot have this change" if evidence.changes else "they compare values of config keys"
            protocol += f" Left out, because {why}: {', '.join(evidence.left_out)}."
        text = " ".join(filter(None, [protocol, spread, self.caption]))
        whole = re.sub(r"n = (\d+)", "n\xa0=\xa0\\1", text)  # stays on one line
        lines = [line.replace("\xa0", " ") for line in textwrap.wrap(whole, NOTE_WIDTH)]
        done, expected = evidence.counts
        if self._lacks_control(evidence):
            lines.append("No independent control: it needs the predictions of at least two trials.")
        commands = self.missing_commands(evidence, preset)
        if commands:
            runs = f"{done} of {expected} runs" if done < expected else "all runs, but not everything that is shown"
            lines.append(f"Partial: {runs}. To make the rest:")
            lines += [line for command in _few(commands) for line in _broken(command)]
        return lines

    def _lacks_control(self, evidence: Evidence) -> bool:
        metrics = [panel.metric for row in self.panels for panel in row]
        columns = [metric.columns["control"] for metric in metrics if "control" in metric.columns]
        table = evidence.table
        return bool(columns) and all(column not in table or table[column].isna().all() for column in columns)

    def missing_commands(self, evidence: Evidence, preset: Preset) -> list[str]:
        """Commands for the missing runs and whatever else the figure lacks; empty if nothing is missing."""
        lacking = [sweep for sweep in self.sweeps if _lacks(evidence, sweep)]
        return self._commands(preset, lacking, self.remedy(evidence), evidence.changes)

    def commands(self, tables_of: StudyTables) -> list[str]:
        """Commands for all that the figure shows, at the first preset (`paper` first) that can have the changes."""
        for preset in get_args(Preset):
            sweeps = [sweep for sweep in self.sweeps if not tables_of(sweep, preset).refusal]
            if sweeps:
                return self._commands(preset, sweeps, self.remedy(None), tables_of.changes)
        return []

    def _commands(self, preset: Preset, sweeps: Sequence[str], remedy: Sequence[str], changes: Changes) -> list[str]:
        only = "".join(f" {key}={_typed(value)}" for key, value in self.only.items())
        launches = [f"repro launch sweeps/{sweep}.yaml preset={preset}{only}{changes.arguments}" for sweep in sweeps]
        return launches + [f"{command} preset={preset}{changes.arguments}" for command in remedy]

    def few_commands(self, tables_of: StudyTables) -> list[str]:
        """`commands` in a few lines."""
        return _few(self.commands(tables_of))

    def _trials(self, evidence: Evidence) -> list[int]:
        """The different numbers of trials that conditions have, without 0."""
        counts: set[int] = set()
        for panel in (panel for row in self.panels for panel in row):
            counts |= set(cells(panel, evidence, "student")["n"])
        return sorted(counts - {0})


def _typed(value: Any) -> str:
    """A setting's value as a command takes it."""
    return f"'[{', '.join(map(str, value))}]'" if isinstance(value, tuple) else str(value)


def _few(commands: list[str]) -> list[str]:
    if len(commands) <= MOST_COMMANDS:
        return commands
    one = re.sub(r"sweeps/\w+\.yaml", "sweeps/NAME.yaml", commands[0])
    return [f"{one}, for each of {len(commands)} sweeps"]


def _broken(command: str) -> list[str]:
    """Break a command into lines that fit under the title and that a shell reads as one; quoted values stay whole."""
    whole = re.sub("'.*?'", lambda quoted: quoted[0].replace(" ", "\xa0"), command)
    wrapper = textwrap.TextWrapper(NOTE_WIDTH, " " * 4, " " * 8, break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(wrapper.wrap(whole)).replace("\xa0", " ").split("\n")


def _settings(table: StudyTable) -> pd.DataFrame:
    """Id and settings of every run that is done or missing."""
    names = ["run_id", "trial", *table.conditions]
    missing = pd.DataFrame([{"run_id": one.run_id, **one.settings} for one in table.missing], columns=names)
    return pd.concat([table.rows[names], missing], ignore_index=True)


def _lacks(evidence: Evidence, sweep: str) -> bool:
    asked = evidence.expected[evidence.expected["sweep"] == sweep]
    return not set(asked["run_id"]) <= set(evidence.table["run_id"])


def _spread(trials: Sequence[int], dots: bool) -> str:
    if not trials or max(trials) == 1:
        return "n = 1 trial, no spread."
    n = str(max(trials)) if len(trials) == 1 else f"{min(trials)} to {max(trials)}"
    return f"Mean ± standard deviation of n = {n} trials{' (dots)' if dots else ''}."


def drawable_presets(figure: PaperFigure, tables: StudyTables) -> list[Preset]:
    """The presets at which any of the figure's runs is done."""
    return [preset for preset in get_args(Preset) if figure.has_runs(tables, preset)]


def draw_figure(figure: PaperFigure, tables: StudyTables, out: Path) -> list[Path]:
    """Draw the figure for every preset that has runs, and return the files. Raises BadInput if none has."""
    written: list[Path] = []
    for preset in drawable_presets(figure, tables):
        evidence = figure.evidence(tables, preset)
        picture = figure.picture(evidence, preset)
        name = f"{file_stem(figure.name)}_{preset}{_in_file_names(tables.changes)}"
        written += save(picture, evidence.table, out, name)
    if not written:
        if refusal := tables.refusal(figure.sweeps):
            raise BadInput(f"figure {figure.name} cannot be drawn with {tables.changes}: {refusal}")
        what = f"figure {figure.name}" + (f" with {tables.changes}" if tables.changes else "")
        commands = " and ".join(f"`{command}`" for command in figure.few_commands(tables))
        raise BadInput(f"{tables.records.name}: holds no run of {what}; make them with {commands}")
    return written


def _in_file_names(changes: Changes) -> str:
    """A suffix that keeps figures of different runs apart; characters not allowed in file names become `-`."""
    return "".join("_" + re.sub(r"[^\w.=-]+", "-", text) for text in changes.texts)


def main(figure: PaperFigure) -> None:
    """`python -m analysis.figures.figure_10 ...` is `repro figures 10 ...`, with all its options."""
    sys.exit(cli.main(["figures", figure.name, *sys.argv[1:]]))
