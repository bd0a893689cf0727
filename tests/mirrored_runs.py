"""Records to show in W&B, and whether it shows them."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import runner, small_student

from repro.bench.wandb_server import StandInServer
from repro.store import RunDirectory
from repro.tracking.label import Label


def finished_runs(runs: Path) -> list[RunDirectory]:
    """A teacher and its student, three rows each."""
    work = runner(runs)
    config = small_student()
    for one in (*config.parents(), config):
        work.make(one, one.kind)
    return [work.store.run(one.run_id) for one in (*config.parents(), config)]


def labels(records: list[RunDirectory]) -> dict[str, Label]:
    return {record.run_id: Label(f"label of {record.run_id}", "a sweep", ("study", "smoke")) for record in records}


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def made_again(records: list[RunDirectory], runs: Path) -> None:
    """Write the records anew, row by row, as a run being made does."""
    for record in records:
        new = RunDirectory(runs / record.run_id)
        with new.lock(pytest.fail):
            for name in ("config.json", "environment.json"):
                shutil.copy(record.path / name, new.path / name)
            for line in (record.path / "metrics.jsonl").read_text().splitlines(keepends=True):
                with (new.path / "metrics.jsonl").open("a") as file:
                    file.write(line)
                time.sleep(0.2)
            for name in ("predictions.safetensors", "summary.json"):
                shutil.copy(record.path / name, new.path / name)


def assert_shows(server: StandInServer, record: RunDirectory) -> None:
    """The run is there, finished, with exactly the record's rows, config and final metrics."""
    shown = server.runs[record.run_id]
    rows = [{key: value for key, value in row.items() if value is not None} for row in record.metrics()]
    assert shown.history() == [{**row, "_step": row["step"]} for row in rows]
    assert shown.exit_code == 0
    content = record.read_json("config.json")["config"]
    assert {key: shown.config()[key] for key in content} == content
    # As the client writes down that every metric is plotted against the first of these.
    epoch, others = json.loads(shown.setting("config"))["_wandb"]["value"]["m"]
    assert epoch["1"] == "epoch" and (others["2"], others["5"]) == ("*", 1)
    metrics = record.read_json("summary.json")["metrics"]
    assert metrics.items() <= shown.summary().items()
    assert (shown.setting("groupName"), shown.setting("jobType")) == ("a sweep", content["kind"])
    assert shown.setting("tags") == ["study", "smoke"]
    assert shown.setting("displayName") == f"label of {record.run_id}"
    assert "wandb-metadata.json" not in shown.files  # of the machine that sends it, which need not be the run's
    pictures = {"reliability", "accuracy_by_class"} | (
        {"agreement_by_class"} if content["kind"] == "student" else set()
    )
    assert {name.split("_summary")[0] for name in shown.files if name.startswith("media/")} == {
        f"media/images/figures/{name}" for name in pictures
    }


def write_part(whole: RunDirectory, rows: int, runs: Path, torn: bool = False) -> None:
    """The record as it stands when so many rows are written, or when its writer was killed in the next one."""
    part = RunDirectory(runs / whole.run_id)
    shutil.rmtree(part.path, ignore_errors=True)
    part.path.mkdir(parents=True)
    for name in ("config.json", "environment.json"):
        shutil.copy(whole.path / name, part.path / name)
    lines = (whole.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (part.path / "metrics.jsonl").write_text("".join(lines[:rows]) + (lines[rows][:20] if torn else ""))
