"""Figures from W&B alone are those from the records, byte for byte. The real client, a server of ours."""

import copy
import io
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis import leaderboard
from analysis.drawing.style import as_png
from analysis.figure import main as figure_script
from analysis.figures import NAMES, digits, find_figure
from analysis.tables import StudyTables
from repro.bench.wandb_server import StandInServer
from repro.bench.wandb_server_runs import ENTITY, StoredRun
from repro.cli import main
from repro.launch.sweep import find_sweep, sweep_studies
from repro.records import open_records
from repro.store import RunDirectory, Store
from repro.tracking.carried import digest, file_name, pack, unpack
from repro.tracking.description import PROJECT
from repro.tracking.fetch import fetch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: 2 teachers, 2 students."""
    root = tmp_path_factory.mktemp("runs")
    SyntheticRecords(examples=50).add("digits", everywhere(Truth()), only={"images": [100], "trial": [0, 1]}).write(
        root
    )
    return root


@pytest.fixture(scope="module")
def filled(runs: Path, one_server: StandInServer) -> dict[str, StoredRun]:
    """What a server holds that has them all."""
    one_server.forget()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in one_server.environment().items():
            patch.setenv(name, value)
        assert main(["wandb", "sync", "--runs", str(runs)]) == 0
    return one_server.runs


@pytest.fixture
def server(
    server: StandInServer, filled: dict[str, StoredRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StandInServer:
    server.runs = copy.deepcopy(filled)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return server


def figures(out: Path, *options: str) -> dict[str, bytes]:
    """What the command writes."""
    assert main(["figures", "digits", "--out", str(out), *options]) == 0
    return written(out)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_figures_from_w_and_b_are_those_from_the_records(
    runs: Path, server: StandInServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_records = figures(tmp_path / "records", "--runs", str(runs))
    assert set(from_records) == {"digits_short.csv", "digits_short.pdf", "digits_short.png"}
    assert b"control_agreement" in from_records["digits_short.csv"]
    server.refusals = 2
    assert figures(tmp_path / "wandb", "--source", "wandb") == from_records
    assert server.refusals == 0
    assert "4 records, 4 of them downloaded now" in capsys.readouterr().err
    requests = server.requests
    assert figures(tmp_path / "again", "--source", f"wandb:{ENTITY}/{PROJECT}") == from_records
    assert "4 records, 0 of them downloaded now" in capsys.readouterr().err
    assert server.requests - requests < 10


@pytest.mark.usefixtures("server")
def test_scripts_take_the_source_as_the_command_does(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["digits.py", "--out", str(tmp_path / "script"), *options])
        with pytest.raises(SystemExit) as end:
            figure_script(digits.FIGURE)
        assert isinstance(end.value.code, int)
        return end.value.code

    assert script("--source", "wand") == 2 and not (tmp_path / "script").exists()
    assert script("--source", "wandb") == 0
    assert written(tmp_path / "script") == figures(tmp_path / "command", "--runs", str(runs))
    capsys.readouterr()
    pages = []
    for source in (("--source", "wandb"), ("--runs", str(runs))):
        assert leaderboard.main(source) == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] and "Not run" in pages[0]


BEYOND_TABLES = ("6c", "7", "8", "reliability", "learning_curves")
"""Figures drawn from more than their CSV: surfaces, samples, logits, predictions, histories."""


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every sweep that some figure shows, and its parents; a surface, and samples."""
    root, records = tmp_path_factory.mktemp("runs"), SyntheticRecords(examples=50)
    for figure in map(find_figure, NAMES):
        only = {key: list(value) if isinstance(value, tuple) else value for key, value in figure.only.items()}
        for sweep in figure.sweeps:
            points = sweep_studies(find_sweep(sweep), {"preset": "short", "trial": [0], **only})
            least = min(points, key=lambda point: len(point.config().parents()))
            records.add(sweep, everywhere(Truth()), done=least.settings().__eq__)
    store = records.write(root)
    place = {"x": 0.0, "y": 0.0}
    surface = {"x": [0.0, 1.0], "y": [0.0, 1.0], "train/loss": [[1.0, 2.0], [3.0, 4.0]]}
    surface["anchors"] = dict.fromkeys(("teacher", "student_initial", "student_final"), place)
    samples = io.BytesIO()
    Image.fromarray(np.arange(96, dtype=np.uint8).reshape(4, 8, 3)).save(samples, format="png")
    for run in store.runs():
        if run.config().kind == "student":
            (run.path / "surface.json").write_text(json.dumps(surface))
        elif run.config().kind == "generator":
            (run.path / "samples.png").write_bytes(samples.getvalue())
    return root


def test_what_a_run_carries_to_w_and_b_is_all_that_any_figure_reads(one_of_each: Path, tmp_path: Path) -> None:
    carried = Store(tmp_path / "carried")
    for run in Store(one_of_each).runs():
        unpack(pack(run), carried.run(run.run_id))
    sources = [StudyTables(open_records(folder)) for folder in (one_of_each, carried.root)]
    assert sources[0].records.ids() == sources[1].records.ids()
    for name in NAMES:
        figure = find_figure(name)
        ours, fetched = (figure.evidence(tables, "short") for tables in sources)
        assert len(ours.table), name
        pd.testing.assert_frame_equal(ours.table, fetched.table)
        if name in BEYOND_TABLES:
            pictures = [as_png(figure.picture(evidence, "short"), 50) for evidence in (ours, fetched)]
            assert pictures[0] == pictures[1], name


def test_what_w_and_b_lacks_is_left_out_and_said(server: StandInServer, runs: Path) -> None:
    first, second, third, _ = (record.run_id for record in Store(runs).runs())
    fetch(ENTITY, PROJECT, lambda _: None)  # while it had all
    del server.runs[first]
    server.runs[third].exit_code = None  # it is being made again
    lines = server.runs[second].lines["wandb-summary.json"]
    lines[max(lines)] = json.dumps({k: v for k, v in server.runs[second].summary().items() if k != "record_digest"})
    said: list[str] = []
    folder = fetch(ENTITY, PROJECT, said.append)
    assert "left out 1 finished run without a record; `repro wandb sync` sends records" in said[0]
    assert {run.run_id for run in Store(folder).runs()} == set(server.runs) - {second, third}


@pytest.mark.usefixtures("server")
def test_of_two_commands_at_a_time_one_downloads_and_the_other_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        told.set()

    def unpack_once_the_other_waits(content: bytes, record: RunDirectory) -> None:
        assert told.wait(60)
        unpack(content, record)

    monkeypatch.setattr("repro.tracking.fetch.unpack", unpack_once_the_other_waits)
    with ThreadPoolExecutor() as commands:
        both = [commands.submit(fetch, ENTITY, PROJECT, say) for _ in range(2)]
        (folder,) = {command.result() for command in both}
    assert len(Store(folder).runs()) == 4
    assert said[0] == f"{ENTITY}/{PROJECT}: waiting, another process is downloading its records to {folder}"
    assert [line.partition(" downloaded now")[0] for line in said[1:]] == [
        f"{ENTITY}/{PROJECT}: 4 records, {new} of them" for new in (4, 0)
    ]


def test_a_record_that_is_not_what_w_and_b_shows_is_refused(
    server: StandInServer, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["figures", "digits", "--source", "wandb", "--out", str(tmp_path / "figures")]
    run = Store(runs).runs()[3]
    shown, name = server.runs[run.run_id], file_name(digest(run))
    whole, lines = shown.files[name], shown.lines["wandb-history.jsonl"]
    shown.files[name] = whole[:-100] + bytes(100)
    assert main(command) == 1
    assert "is damaged" in capsys.readouterr().err
    shown.files[name] = pack(Store(runs).runs()[0])
    assert main(command) == 1
    assert "another digest" in capsys.readouterr().err
    shown.files[name] = whole
    shown.lines["wandb-history.jsonl"] = {0: lines[0]}
    assert main(command) == 1
    assert "shows 1 rows" in capsys.readouterr().err
    del shown.files[name]
    assert main(command) == 1
    assert f"run {run.run_id} lacks its {name}" in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


def test_a_changed_record_is_sent_and_fetched_again(server: StandInServer, runs: Path) -> None:
    said: list[str] = []
    fetch(ENTITY, PROJECT, said.append)
    record = Store(runs).runs()[0]
    (record.path / "quality.json").write_text('{"fid": 1.0}')
    name = file_name(digest(record))
    assert main(["wandb", "sync", "--runs", str(runs)]) == 0
    (record.path / "quality.json").unlink()
    assert "quality.json" in str(server.runs[record.run_id].files[name])
    folder = fetch(ENTITY, PROJECT, said.append)
    assert "4 records, 1 of them downloaded now" in said[-1]
    assert (folder / record.run_id / "quality.json").read_text() == '{"fid": 1.0}'
    assert main(["wandb", "sync", "--runs", str(runs)]) == 0  # without that file, as at first
    fetch(ENTITY, PROJECT, said.append)
    assert "4 records, 1 of them downloaded now" in said[-1]
    assert not (folder / record.run_id / "quality.json").exists()


def test_weights_are_sent_only_when_asked_for_and_linked_to_the_teachers(
    server: StandInServer, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in Store(runs).runs():
        (record.path / "model.safetensors").write_bytes(f"weights of {record.run_id}".encode())
    command = ["wandb", "sync", "--runs", str(runs)]
    assert main(command) == 0
    assert not server.artifacts
    with monkeypatch.context() as patch:
        patch.setattr(server, "_CreateArtifact", lambda *_: server.artifacts["a full store"])  # the server refuses
        assert main([*command, "--models"]) == 1
    assert capsys.readouterr().out.count("W&B does not take its weights: ") == 2  # the others' teachers are lacking
    assert all(run.exit_code == 0 for run in server.runs.values())
    for _ in range(2):  # the second time all is there
        assert main([*command, "--models"]) == 0
        assert len(server.artifacts) == 4
    for record in Store(runs).runs():
        (model,) = (one for one in server.artifacts.values() if one.made_by == record.run_id)
        assert model.name == f"model-{record.run_id}" and model.committed
        children = {
            child.run_id
            for child in Store(runs).runs()
            if record.run_id in [parent.run_id for parent in child.config().parents()]
        }
        assert model.used_by == children
        assert server.runs[record.run_id].exit_code == 0


def test_weights_whose_teacher_w_and_b_lacks_are_a_problem(
    server: StandInServer, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = next(run for run in Store(runs).runs() if run.config().kind == "student")
    shutil.copytree(student.path, tmp_path / "runs" / student.run_id)
    (tmp_path / "runs" / student.run_id / "model.safetensors").write_bytes(b"weights")
    assert main(["wandb", "sync", "--models", "--runs", str(tmp_path / "runs")]) == 1
    assert f"W&B lacks the weights of its teacher {student.config().parents()[0].run_id}" in capsys.readouterr().out
    assert not server.artifacts


@pytest.mark.usefixtures("server")
def test_bad_sources_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for source, said in (
        ("wand", "neither runs nor wandb"),
        ("wandb:tester/a/b", "neither runs nor wandb"),
        ("wandb:tester/nothing", "there is no such project"),
    ):
        assert main(["figures", "--source", source, "--out", str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
