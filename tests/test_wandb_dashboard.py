"""Workspace and reports, saved by the real client to a server of ours: they show what runs have, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro.bench.wandb_server import StandInServer
from repro.bench.wandb_server_runs import ENTITY
from repro.cli import main
from repro.records import open_records
from repro.tracking.description import PROJECT
from repro.tracking.panels import groups

pytestmark = pytest.mark.slow

RESULTS, SWEEPS = (Path(__file__).parents[1] / name for name in ("results", "sweeps"))
STUDY, PRESET = "data_recycling", "short"
PICTURES = ("figures/reliability", "figures/accuracy_by_class")


@pytest.fixture
def server(server: StandInServer) -> StandInServer:
    """A project that shows the committed records of a study: as much of it as dashboards look at."""
    records = open_records(RESULTS / "data_recycling_resnet20" / "records.npz")
    for run_id in records.ids():
        metrics = {**records.record(run_id).metrics[-1], **records.record(run_id).summary["metrics"]}
        pictures = {name: {"_type": "image-file"} for name in PICTURES}
        show(server, run_id, STUDY, {**metrics, **pictures, "_runtime": 1})
    return server


def show(server: StandInServer, run_id: str, study: str, summary: dict[str, Any], preset: str = PRESET) -> None:
    config = {"study": study, "preset": preset, "condition": "split=D0"}
    run = server.known(PROJECT, run_id)
    run.upserts.append({"config": json.dumps({name: {"value": value} for name, value in config.items()})})
    run.lines["wandb-summary.json"] = {0: json.dumps(summary)}


def specs(server: StandInServer, kind: str) -> dict[str, str]:
    return {view["displayName"]: view["spec"] for view in server.views.values() if view["type"] == kind}


def panels_in(spec: Any) -> Iterator[dict[str, Any]]:
    """Every panel anywhere in a stored spec: an object with a view type and a config."""
    if isinstance(spec, dict):
        if "viewType" in spec and "config" in spec:
            yield spec
        for value in spec.values():
            yield from panels_in(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from panels_in(value)


def metrics_of(panel: dict[str, Any]) -> set[str]:
    """The metrics and media that a stored panel draws."""
    config = panel["config"]
    axes = [config.get(name, "") for name in ("xAxis", "yAxis")]
    named = [*config.get("metrics", []), *config.get("mediaKeys", []), *axes]
    return {name.removeprefix("summary:") for name in named if name and name != "Step"}


def conditions_of(filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The conditions in a stored tree of filters."""
    if "key" in filters:
        yield filters
    for one in filters.get("filters", ()):
        yield from conditions_of(one)


def test_a_workspace_and_a_report_for_each_study_show_only_what_its_runs_have(server: StandInServer) -> None:
    assert main(["wandb", "dashboard"]) == 0
    (workspace,), (report,) = specs(server, "project-view").values(), specs(server, "runs").values()
    assert set(specs(server, "runs")) == {f"Study {STUDY}"}
    records = open_records(RESULTS / "data_recycling_resnet20" / "records.npz")
    known = set(PICTURES)
    for record in map(records.record, records.ids()):
        known |= {name for row in record.metrics for name in row} | set(record.summary["metrics"])
    for spec in (workspace, report):
        panels = list(panels_in(json.loads(spec)))
        shown = [metrics_of(panel) for panel in panels]
        assert all(shown)
        assert set().union(*shown) <= known
        kinds = [(panel["viewType"], frozenset(metrics)) for panel, metrics in zip(panels, shown, strict=True)]
        for expected in (
            ("Scatter Plot", {"test/agreement", "test/accuracy"}),
            ("Scatter Plot", {"train/agreement", "test/agreement"}),
            ("Bar Chart", {"test/agreement"}),
            ("Bar Chart", {"test/kl"}),
            ("Bar Chart", {"test/cka/stage1"}),
            ("Bar Chart", {"epoch"}),
            ("Run History Line Plot", {"train/loss", "epoch"}),
            *(("Media Browser", {name}) for name in PICTURES),
        ):
            assert (expected[0], frozenset(expected[1])) in kinds, expected
        plots = [panel["config"] for panel in panels if panel["viewType"] == "Scatter Plot"]
        assert {(plot["xAxis"], plot["yAxis"]) for plot in plots} == {
            ("summary:test/agreement", "summary:test/accuracy"),
            ("summary:train/agreement", "summary:test/agreement"),
        }
        bars = [panel["config"] for panel in panels if panel["viewType"] == "Bar Chart"]
        by_condition = [bar for bar in bars if bar["metrics"] != ["epoch"]]
        assert {bar.get("groupBy") for bar in by_condition} == {"condition.value"}
        assert {(bar["groupAgg"], bar["groupArea"]) for bar in by_condition} == {("mean", "stddev")}
    settings = json.loads(workspace)["section"]["settings"]
    assert (settings["xAxis"], settings["maxRuns"]) == ("epoch", 50)  # by default, curves of ten runs over the steps
    (runset,) = json.loads(workspace)["section"]["runSets"]
    assert [key["name"] for key in runset["grouping"]] == ["study.value", "preset.value", "condition.value"]
    assert STUDY in report and PRESET in report and "Question: teachers are trained on one stratified half" in report
    (description,) = (view["description"] for view in server.views.values() if view["type"] == "runs")
    assert description.startswith("Distillation on the teacher's half of CIFAR-100")
    assert "repro launch sweeps/data_recycling.yaml" in report
    assert report.count("repro launch ") == len(list(SWEEPS.glob(f"{STUDY}*.yaml"))) == 3  # and no other study's


def test_each_preset_has_its_own_part_of_a_report_with_its_own_runs_and_panels(server: StandInServer) -> None:
    show(server, "one", STUDY, {"epoch": 1, "test/accuracy": 0.5}, preset="smoke")
    show(server, "two", "digits", {"epoch": 1, "test/accuracy": 0.5})
    assert main(["wandb", "dashboard", STUDY]) == 0
    (report,) = specs(server, "runs").values()  # of the study that was asked for, and of no other
    grids = [block["metadata"] for block in json.loads(report)["blocks"] if block["type"] == "panel-grid"]
    shown: dict[str, set[str]] = {PRESET: set(), "smoke": set()}
    for grid in grids:
        (runset,) = grid["runSets"]
        conditions = {one["key"]["name"]: one["value"] for one in conditions_of(runset["filters"])}
        assert conditions.keys() == {"study", "preset"} and conditions["study"] == STUDY
        metrics = [metrics_of(panel) for panel in panels_in(grid)]
        shown[conditions["preset"]] |= set().union(*metrics)
        # Beside the epochs that they have reached, runs are counted by their state.
        assert [key["name"] for key in runset["grouping"]] == ["state"] * ({"epoch"} in metrics)
    assert shown["smoke"] == {"epoch", "test/accuracy"}
    assert shown[PRESET] > {"epoch", "test/accuracy", "test/agreement"}


def test_saving_twice_updates_what_is_there(server: StandInServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wandb", "dashboard"]) == 0
    first = capsys.readouterr().out
    assert (first.count("created"), first.count("updated")) == (2, 0)
    assert f"{ENTITY}/{PROJECT}" in first
    before = set(server.views)
    foreign = server.known(PROJECT, "foreign")  # a run of somebody else, who has studies too
    foreign.upserts.append({"config": json.dumps({"study": {"value": "digits"}})})
    show(server, "new", "sngan", {"epoch": 1, "train/generator_loss": 1.0})
    assert main(["wandb", "dashboard"]) == 0
    again = capsys.readouterr().out
    assert (again.count("created"), again.count("updated")) == (1, 2)
    assert before < set(server.views) and len(server.views) == len(before) + 1
    generator = specs(server, "runs")["Study sngan"]
    assert "train/generator_loss" in generator and "test/agreement" not in generator
    assert "train/generator_loss" in specs(server, "project-view")["Knowledge distillation"]


@pytest.mark.usefixtures("server")
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["wandb", "dashboard", "data_recyclin"]) == 2
    assert "did you mean 'data_recycling'" in capsys.readouterr().err
    assert main(["wandb", "dashboard", "sngan"]) == 2
    assert "holds no run of the study 'sngan'" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    assert main(["wandb", "dashboard"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_without_metrics_has_no_panels() -> None:
    assert groups(set()) == []
