"""`repro wandb dashboard`: a saved workspace for the project and a report for every study, generated from code.

Saving again updates them: the workspace is found by a fixed name, a report by its title. Changes made to them by hand
are overwritten; copies under another name are left alone.
"""

import inspect
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from urllib.parse import urlunparse

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb.apis.public import Api
from wandb_workspaces.expr import And

from repro.errors import BadInput, did_you_mean
from repro.experiments.study import Study, studies
from repro.launch.sweep import all_sweeps, study_of
from repro.tracking.check import runs_of
from repro.tracking.description import Destination
from repro.tracking.panels import groups

WORKSPACE = "Knowledge distillation"
WORKSPACE_NAME = "repro"
"""Part of the saved workspace's address: `?nw=repro`."""


@dataclass(frozen=True)
class Saved:
    """A workspace or report saved in W&B. panels: their number. action: created or updated."""

    kind: str
    name: str
    panels: int
    action: str
    url: str


def save_dashboards(to: Destination, names: Collection[str]) -> Iterator[Saved]:
    """Save the workspace, and the reports of the studies in `names` (of all that have runs in W&B, if empty).

    Raises BadInput if the project has no runs, or none of a named study; wandb.Error if W&B cannot be used.
    """
    api = Api()
    entity = str(to.entity or api.default_entity)
    metrics = _metrics(api, entity, to.project)
    known = studies()
    for name in names:
        if name not in known:
            raise BadInput(f"no study is called '{name}'{did_you_mean(name, known)}")
        if name not in metrics:
            raise BadInput(f"{entity}/{to.project}: holds no run of the study '{name}'; `repro wandb sync` sends runs")
    if not metrics:
        raise BadInput(f"{entity}/{to.project}: holds no run of a study; `repro wandb sync` sends runs")
    everything = {name for presets in metrics.values() for found in presets.values() for name in found}
    yield _save_workspace(entity, to.project, everything)
    ids = {str(report.display_name): str(report.id) for report in api.reports(f"{entity}/{to.project}")}
    for name in names or sorted(metrics.keys() & known.keys()):
        yield _save_report(known[name], entity, to.project, metrics[name], ids)


def _metrics(api: Api, entity: str, project: str) -> dict[str, dict[str, set[str]]]:
    """The names in the runs' summaries (metrics and pictures), by study and preset."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    runs = runs_of(api, f"{entity}/{project}")
    if runs is None:
        raise BadInput(f"{entity}/{project}: there is no such project; `repro wandb sync` makes it")
    for run in runs:
        if {"study", "preset"} <= run.config.keys():  # the project may have other runs
            found[run.config["study"]][run.config["preset"]].update(dict(run.summary))
    return found


def _save_workspace(entity: str, project: str, metrics: Set[str]) -> Saved:
    sections = [ws.Section(name=group.title, panels=list(group.panels), is_open=True) for group in groups(metrics)]
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=WORKSPACE,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=50),
        runset_settings=ws.RunsetSettings(groupby=[ws.Config("study"), ws.Config("preset"), ws.Config("condition")]),
    )
    url = urlunparse(("https", "wandb.ai", f"{entity}/{project}", "", f"nw={WORKSPACE_NAME}", ""))
    existing = _existing_workspace(url)
    # There is no public API to set the name under which a workspace can be found again.
    workspace._internal_name = f"nw-{WORKSPACE_NAME}-v"
    if existing is not None:
        workspace._internal_id = existing._internal_id
        workspace._internal_runset_id = existing._internal_runset_id
    workspace.save()
    panels = sum(len(section.panels) for section in sections)
    return Saved("workspace", WORKSPACE, panels, "updated" if existing else "created", workspace.url)


def _existing_workspace(url: str) -> ws.Workspace | None:
    try:
        return ws.Workspace.from_url(url)
    except ValueError:  # there is none with that name
        return None


def _save_report(
    study: type[Study], entity: str, project: str, metrics: Mapping[str, Set[str]], ids: Mapping[str, str]
) -> Saved:
    """Save a study's report, with a part for each preset, since numbers of different presets are not comparable."""
    name = study.model_fields["name"].default
    title = f"Study {name}"
    blocks: list[wr.MarkdownBlock | wr.H1 | wr.H2 | wr.PanelGrid] = [wr.MarkdownBlock(text=_introduction(study))]
    panels = 0
    for preset, found in sorted(metrics.items()):
        blocks.append(wr.H1(text=f"Preset {preset}"))
        for group in groups(found):
            runset = wr.Runset(
                entity=entity,
                project=project,
                name=f"{name}, preset {preset}",
                filters=And(ws.Config("study") == name, ws.Config("preset") == preset),
                # The table then counts finished, running and failed runs.
                groupby=["State"] if group.title == "Progress" else [],
            )
            blocks += [wr.H2(text=group.title), wr.PanelGrid(runsets=[runset], panels=list(group.panels))]
            panels += len(group.panels)
    report = wr.Report(
        project=project, entity=entity, title=title, description=study.headline(), blocks=blocks, width="fluid"
    )
    report.id = ids.get(title, "")
    report.save()
    return Saved("report", title, panels, "updated" if title in ids else "created", report.url)


def _introduction(study: type[Study]) -> str:
    """The study's description, and the commands that make its runs."""
    name = study.model_fields["name"].default
    sweeps = [path.name for path in all_sweeps() if study_of(path) == name]
    commands = "".join(f"- `repro launch sweeps/{sweep}`; `repro status sweeps/{sweep}`\n" for sweep in sweeps)
    return f"{inspect.getdoc(study)}\n\n{commands}"
