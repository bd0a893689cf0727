"""W&B shows what the records hold, and whatever goes wrong with it hurts no run. The real client, a server of ours."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import runner, small_student

from repro.bench.wandb_server import ENTITY, KEY, StandInServer
from repro.records import RunFolder
from repro.store import RunDirectory, Store
from repro.tracking import mirror
from repro.tracking.carried import digest, pack, unpack
from repro.tracking.description import PROJECT, Destination
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored, why_offline
from repro.tracking.sync import sync

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    """A teacher and its student, three rows each."""
    work = runner(tmp_path_factory.mktemp("finished"))
    config = small_student()
    for one in (*config.parents(), config):
        work.make(one, one.kind)
    return [work.store.run(one.run_id) for one in (*config.parents(), config)]


def labels(records: list[RunDirectory]) -> dict[str, Label]:
    return {record.run_id: Label(f"label of {record.run_id}", "a sweep", ("study", "smoke")) for record in records}


def made_again(records: list[RunDirectory], runs: Path) -> None:
    """Write the records anew, row by row, as a run being made does."""
    for record in records:
        new = runs / record.run_id
        new.mkdir(parents=True)
        for name in ("config.json", "environment.json"):
            shutil.copy(record.path / name, new / name)
        for line in (record.path / "metrics.jsonl").read_text().splitlines(keepends=True):
            with (new / "metrics.jsonl").open("a") as file:
                file.write(line)
            time.sleep(0.2)
        for name in ("predictions.safetensors", "summary.json"):
            shutil.copy(record.path / name, new / name)


def assert_shows(server: StandInServer, record: RunDirectory) -> None:
    """The run is there, finished, with exactly the record's rows, config and final metrics."""
    shown = server.runs[record.run_id]
    rows = [{key: value for key, value in row.items() if value is not None} for row in record.metrics()]
    assert shown.history() == [{**row, "_step": row["step"]} for row in rows]
    assert shown.exit_code == 0
    content = record.read_json("config.json")["config"]
    assert {key: shown.config()[key] for key in content} == content
    metrics = record.read_json("summary.json")["metrics"]
    assert metrics.items() <= shown.summary().items()
    assert (shown.setting("groupName"), shown.setting("jobType")) == ("a sweep", content["kind"])
    assert shown.setting("tags") == ["study", "smoke"]
    assert shown.setting("displayName") == f"label of {record.run_id}"
    pictures = {"reliability", "accuracy_by_class"} | (
        {"agreement_by_class"} if content["kind"] == "student" else set()
    )
    assert {name.split("_summary")[0] for name in shown.files if name.startswith("media/")} == {
        f"media/images/figures/{name}" for name in pictures
    }


def test_runs_appear_while_they_are_made_row_for_row(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    said: list[str] = []
    with mirrored("online", tmp_path, labels(finished), said.append):
        made_again(finished, tmp_path)
    assert said == []
    for record in finished:
        assert_shows(server, record)


def test_sync_sends_what_is_missing_once(finished: list[RunDirectory], server: StandInServer, tmp_path: Path) -> None:
    to = Destination(PROJECT, ENTITY, tmp_path)
    named = [(record, labels(finished)[record.run_id]) for record in finished]
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(3, None), (3, None)]
    for record in finished:
        assert_shows(server, record)
    requests = server.requests
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(0, None), (0, None)]
    assert server.requests - requests < 10
    server.runs.pop(finished[1].run_id)
    assert [one.sent for one in sync(named, to)] == [0, 3]


def test_a_record_that_was_packed_says_the_same(finished: list[RunDirectory], tmp_path: Path) -> None:
    for record in finished:
        unpack(pack(record), RunDirectory(tmp_path / record.run_id))
        assert digest(RunDirectory(tmp_path / record.run_id)) == digest(record)
    before, after = RunFolder(Store(finished[0].path.parent)), RunFolder(Store(tmp_path))
    teacher, student = (record.run_id for record in finished)
    assert after.record(student) == before.record(student)
    assert after.scores(student) == before.scores(student)
    assert after.pair(student, teacher) == before.pair(student, teacher)
    kept, all_of_it = (RunDirectory(root / student).predictions() for root in (tmp_path, finished[0].path.parent))
    assert torch.equal(kept["test_logits"], all_of_it["test_logits"])
    assert torch.equal(kept["train_logits"], all_of_it["train_logits"][:8])
    assert kept.keys() == all_of_it.keys()


def test_an_interrupted_run_goes_on_in_the_same_w_and_b_run_without_gap_or_duplicate(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    student = finished[1]
    half = tmp_path / student.run_id
    half.mkdir()
    for name in ("config.json", "environment.json"):
        shutil.copy(student.path / name, half / name)
    lines = (student.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(lines[:2]) + '{"epoch": 3, "st')  # the writer was killed
    to, label = Destination(PROJECT, ENTITY, tmp_path), labels(finished)[student.run_id]
    assert [(one.rows, one.sent, one.problem) for one in sync([(RunDirectory(half), label)], to)] == [(2, 2, None)]
    assert server.runs[student.run_id].exit_code == 1
    assert [(one.rows, one.sent, one.problem) for one in sync([(student, label)], to)] == [(3, 1, None)]
    assert_shows(server, student)


def nothing(_server: StandInServer, _patch: pytest.MonkeyPatch) -> None:
    """The server is as it should be."""


def no_key(_server: StandInServer, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("WANDB_API_KEY")


def wrong_key(_server: StandInServer, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("WANDB_API_KEY", KEY.replace("a", "b"))


def unreachable(_server: StandInServer, patch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")


def error_500(server: StandInServer, _patch: pytest.MonkeyPatch) -> None:
    server.fault = "error_500"


def slow(server: StandInServer, _patch: pytest.MonkeyPatch) -> None:
    server.fault = "slow"
    server.slow_seconds = 30.0


def dropped(server: StandInServer, _patch: pytest.MonkeyPatch) -> None:
    server.fault = "dropped"


def gone_at_the_end(server: StandInServer, _patch: pytest.MonkeyPatch) -> None:
    def later() -> None:
        while not server.runs:
            time.sleep(0.05)
        time.sleep(0.3)
        server.fault = "dropped"

    threading.Thread(target=later, daemon=True).start()


BOUND = 3.0


@pytest.mark.parametrize("fault", [no_key, wrong_key, unreachable, error_500, slow, dropped, gone_at_the_end])
def test_no_fault_of_w_and_b_reaches_the_run_nor_holds_it_longer_than_the_bound(
    fault: Callable[[StandInServer, pytest.MonkeyPatch], None],
    finished: list[RunDirectory],
    server: StandInServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", BOUND)
    monkeypatch.setenv("HOME", str(tmp_path))  # no key in ~/.netrc
    fault(server, monkeypatch)
    said: list[str] = []
    began = time.monotonic()
    with mirrored("online", tmp_path / "runs", labels(finished), said.append):
        entered = time.monotonic()
        made_again(finished, tmp_path / "runs")
        left = time.monotonic()
    waited = entered - began + time.monotonic() - left
    assert waited < BOUND + 1.5
    assert len(said) == 1
    assert said[0].startswith("warning: W&B lacks something (")
    assert "`repro wandb sync --runs" in said[0]
    for record in finished:
        assert (tmp_path / "runs" / record.run_id / "summary.json").exists()


@pytest.mark.parametrize("fault", [nothing, no_key, unreachable, error_500])
def test_auto_is_online_only_where_w_and_b_can_be_used(
    fault: Callable[[StandInServer, pytest.MonkeyPatch], None],
    server: StandInServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fault(server, monkeypatch)
    assert (why_offline() is None) == (fault is nothing)
    said: list[str] = []
    with mirrored("auto", tmp_path, {}, said.append):
        pass
    assert len(said) == (0 if fault is nothing else 1)


def run_repro(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "repro", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def wait_for_metrics(root: Path, of_runs: int) -> None:
    """Until so many runs have written a row."""
    deadline = time.monotonic() + 300
    while len(list(root.glob("*/metrics.jsonl"))) < of_runs:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_online_equals_offline_and_sync_for_a_whole_sweep_with_runs_killed_on_the_way(
    server: StandInServer, tmp_path: Path
) -> None:
    """20 runs: made online without trouble, and made offline, killed twice, then synced. W&B shows the same."""
    sweep = ["sweeps/digits.yaml", "preset=smoke", "trial=[0, 1, 2, 3, 4]"]

    def launch(runs: Path, mode: str) -> list[str]:
        return ["launch", *sweep, "--runs", str(runs), "--workers", "2", "--wandb", mode]

    assert run_repro(*launch(tmp_path / "online", "online")).returncode == 0
    # So many runs within seconds may be more than can be shown before the bound: then this sends the rest.
    assert run_repro("wandb", "sync", *sweep, "--runs", str(tmp_path / "online")).returncode == 0
    online = server.runs
    assert len(online) >= 20

    server.forget()
    for runs in (2, 7):
        command = [sys.executable, "-m", "repro"]
        process = subprocess.Popen([*command, *launch(tmp_path / "offline", "offline")], start_new_session=True)
        wait_for_metrics(tmp_path / "offline", of_runs=runs)
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert run_repro("wandb", "sync", "--runs", str(tmp_path / "offline")).returncode == 0
    assert run_repro(*launch(tmp_path / "offline", "offline")).returncode == 0
    synced = run_repro("wandb", "sync", *sweep, "--runs", str(tmp_path / "offline"))
    assert (synced.returncode, synced.stderr) == (0, "")
    assert server.runs.keys() == online.keys()
    for run_id, shown in server.runs.items():
        record = RunDirectory(tmp_path / "offline" / run_id)
        assert shown.history() == online[run_id].history()
        assert [row["step"] for row in shown.history()] == [row["step"] for row in record.metrics()]
        assert shown.exit_code == online[run_id].exit_code == 0
        assert shown.setting("groupName") == online[run_id].setting("groupName") == "digits"
        assert shown.setting("tags") == online[run_id].setting("tags")
        assert {"digits", "smoke"} <= set(shown.setting("tags"))
        metrics = record.read_json("summary.json")["metrics"].keys()
        assert {k: shown.summary()[k] for k in metrics} == {k: online[run_id].summary()[k] for k in metrics}


@pytest.mark.usefixtures("server")
def test_sync_tells_the_truth_with_its_exit_code(
    finished: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = run_repro("wandb", "sync", "--runs", str(tmp_path / "nothing"))
    assert nowhere.returncode == 2 and nowhere.stderr.count("\n") == 1
    runs = str(finished[0].path.parent)
    done = run_repro("wandb", "sync", "--runs", runs)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("WANDB_API_KEY", KEY.replace("a", "b"))
    refused = run_repro("wandb", "sync", "--runs", runs)
    assert refused.returncode == 1 and refused.stderr.startswith("repro: W&B: ") and refused.stderr.count("\n") == 1
