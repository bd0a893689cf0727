"""`repro wandb sync` brings W&B up to the records: the rest of their rows, once, and says what does not arrive."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mirrored_runs import assert_shows, finished_runs, labels, write_part
from synthetic_records import SyntheticRecords, Truth, everywhere

from repro.bench.wandb_server import KEY, StandInServer
from repro.bench.wandb_server_runs import ENTITY
from repro.cli import main
from repro.lock import try_lock
from repro.store import RunDirectory, Store
from repro.tracking import mirror
from repro.tracking.carried import digest
from repro.tracking.description import PROJECT, Destination
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored
from repro.tracking.sync import sync

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    return finished_runs(tmp_path_factory.mktemp("finished"))


def test_sync_sends_what_is_missing_once(finished: list[RunDirectory], server: StandInServer, tmp_path: Path) -> None:
    to = Destination(PROJECT, ENTITY, tmp_path)
    named = [(record, labels(finished)[record.run_id]) for record in finished]
    unnamed = [(record, None) for record in finished]
    assert [(one.sent, one.problem) for one in sync(unnamed, to)] == [(3, None), (3, None)]
    shown = server.runs[finished[0].run_id]
    assert "study" not in shown.config()
    assert (shown.setting("displayName"), shown.setting("groupName")) == (finished[0].run_id, None)
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(0, None), (0, None)]  # now it knows their study
    config = server.runs[finished[0].run_id].config()
    assert (config["study"], config["preset"]) == ("study", "smoke")
    for record in finished:
        assert_shows(server, record)
    requests = server.requests
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(0, None), (0, None)]
    assert server.requests - requests < 10
    others = [(record, Label("another", "another", ("another study", "smoke"))) for record in finished]
    assert [(one.sent, one.problem) for one in sync(others, to)] == [(0, None), (0, None)]  # the first that asked
    for record in finished:
        assert_shows(server, record)
    elsewhere = Destination(PROJECT, ENTITY, tmp_path / "elsewhere")  # which has looked at none of them
    assert [(one.sent, one.problem) for one in sync(named, elsewhere)] == [(0, None), (0, None)]
    assert server.requests - requests < 20
    assert not list(tmp_path.glob("wandb/run-*"))  # the client's own copies
    shown.exit_code = 1
    assert [(one.sent, one.problem) for one in sync(unnamed, to)] == [(0, None), (0, None)]
    for record in finished:  # it keeps its name
        assert_shows(server, record)
    server.runs.pop(finished[1].run_id)
    gone = RunDirectory(shutil.copytree(finished[0].path, tmp_path / "gone"))
    server.deleted = {"gone"}  # that one is refused; the other is sent
    refused, sent = sync([(gone, named[0][1]), named[1]], to)
    assert (refused.sent, sent.sent, sent.problem) == (0, 3, None)
    assert refused.problem is not None and "previously created and deleted" in refused.problem


def test_rows_that_differ_in_a_value_are_a_problem_as_often_as_one_asks(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    """Of a run that was made again, after its folder was lost or elsewhere. W&B cannot change what it has."""
    run, to = RunDirectory(tmp_path / finished[0].run_id), Destination(PROJECT, ENTITY, tmp_path)
    shutil.copytree(finished[0].path, run.path)
    rows = [{**row, "step": 100_000 * row["step"]} for row in run.metrics()]  # far apart, as in long trainings
    rows[0]["test/ece"] = None  # undefined: W&B cannot show it
    for accuracy, problem in (
        (0.25, None),
        (0.5, "W&B has different values in 1 of 3 rows, sent before the run was made again"),
    ):
        rows[1]["test/accuracy"] = accuracy
        (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for _ in range(2):
            requests = server.requests
            assert [one.problem for one in sync([(run, None)], to)] == [problem]
            assert server.requests - requests < 40
            assert ["test/ece" in row for row in server.runs[run.run_id].history()] == [False, True, True]


def test_what_w_and_b_lacks_of_a_finished_run_is_a_problem_until_it_has_it(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, to = RunDirectory(tmp_path / finished[0].run_id), Destination(PROJECT, ENTITY, tmp_path)
    shutil.copytree(finished[0].path, run.path)

    def problem() -> str | None:
        (one,) = sync([(run, None)], to)
        return one.problem

    stream, shown = server.stream, server.known(PROJECT, run.run_id)
    with monkeypatch.context() as patch:
        patch.setattr(server, "stream", lambda to, content: stream(to, {**content, "complete": False}))
        assert problem() == "W&B shows it as running"
    assert problem() is None and shown.exit_code == 0
    (run.path / "surface.json").write_text("{}")
    server.refused_files = {"file_stream"}  # so the earlier record stays the one that is shown
    assert problem() == "W&B lacks its record"
    copies = tmp_path / "wandb"
    for name in (run.run_id, f"{run.run_id}-1", "another"):  # of earlier attempts, two of them in the same second
        (copies / f"run-20260101_000000-{name}").mkdir()
    assert len(list(copies.glob("run-*"))) > 3  # the client's own of what was not accepted now
    server.refused_files = set()
    assert problem() is None
    assert [copy.name for copy in copies.glob("run-*")] == ["run-20260101_000000-another"]
    assert shown.summary()["record_digest"] == digest(run)
    shown.lines["wandb-history.jsonl"].pop(1)
    assert problem() == "W&B has 2 rows, the record 3"


class Going(RunDirectory):
    """A record whose run writes its next row, and after the last one its end, whenever its rows were looked at."""

    whole: ClassVar[RunDirectory]

    def metrics(self) -> list[dict[str, Any]]:
        rows = super().metrics()
        lines = (Going.whole.path / "metrics.jsonl").read_text().splitlines(keepends=True)
        (self.path / "metrics.jsonl").write_text("".join(lines[: len(rows) + 1]))
        if len(rows) + 1 >= len(lines):
            for name in ("predictions.safetensors", "summary.json"):
                shutil.copy(Going.whole.path / name, self.path / name)
        return rows


def test_sync_of_a_run_that_is_going_on_and_ends_meanwhile_is_true(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    Going.whole = finished[0]
    write_part(Going.whole, 1, tmp_path)
    run, named = Going(tmp_path / Going.whole.run_id), labels(finished)
    to = Destination(PROJECT, ENTITY, tmp_path)
    assert [(one.rows, one.sent, one.problem) for one in sync([(run, named[run.run_id])], to)] == [(2, 2, None)]
    assert run.is_done() and server.runs[run.run_id].exit_code == 1  # it lacks the last row
    assert [(one.rows, one.sent, one.problem) for one in sync([(run, named[run.run_id])], to)] == [(3, 1, None)]
    assert_shows(server, Going.whole)


def test_online_is_offline_and_sync_for_twenty_runs_some_killed_and_resumed(
    server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 runs shown while they are made, and the same runs killed, gone on with and synced: W&B shows the records."""
    monkeypatch.setattr(mirror, "END_SECONDS", 120.0)  # so many runs within seconds may take longer than real ones
    sweep = {"trial": [0, 1, 2, 3, 4]}
    whole = (
        SyntheticRecords(examples=50).add("digits", everywhere(Truth()), only=sweep).write(tmp_path / "whole").runs()
    )
    assert len(whole) == 20
    said: list[str] = []
    with mirrored("online", tmp_path / "online", labels(whole), said.append):
        for record in whole:
            for rows in (1, 4):
                write_part(record, rows, tmp_path / "online")
            shutil.copytree(record.path, tmp_path / "online" / record.run_id, dirs_exist_ok=True)
    assert said == []
    online = server.runs

    server.forget()
    to, named = Destination(PROJECT, ENTITY, tmp_path), labels(whole)
    offline = Store(tmp_path / "offline")

    def synced(records: list[RunDirectory]) -> list[tuple[int, str | None]]:
        found = sync([(offline.run(record.run_id), named[record.run_id]) for record in records], to)
        return [(one.sent, one.problem) for one in found]

    killed, untouched = whole[:8], whole[8:]
    for record in killed:
        write_part(record, 6, offline.root, torn=True)
    assert synced(killed) == 8 * [(6, None)]
    assert all(server.runs[record.run_id].exit_code == 1 for record in killed)
    for record in killed[:3]:  # gone on with from the last checkpoint: rows that were sent already are written again
        write_part(record, 4, offline.root)
    assert synced(killed[:3]) == 3 * [(0, "W&B has 6 rows, the record 4")]
    for record in whole:
        shutil.copytree(record.path, offline.root / record.run_id, dirs_exist_ok=True)
    assert synced(whole) == len(killed) * [(4, None)] + len(untouched) * [(10, None)]
    assert server.runs.keys() == online.keys() == {record.run_id for record in whole}
    for record in whole:
        shown, live = server.runs[record.run_id], online[record.run_id]
        assert shown.history() == live.history() == [{**row, "_step": row["step"]} for row in record.metrics()]
        assert shown.exit_code == live.exit_code == 0
        metrics = record.read_json("summary.json")["metrics"]
        assert metrics.items() <= shown.summary().items() and metrics.items() <= live.summary().items()
        for name in ("groupName", "tags", "jobType", "displayName"):
            assert shown.setting(name) == live.setting(name)


def test_sync_tells_the_truth_with_its_exit_code(
    finished: list[RunDirectory],
    server: StandInServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["wandb", "sync", "--runs", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    command = ["wandb", "sync", "--runs", str(finished[0].path.parent)]
    monkeypatch.delenv("WANDB_ENTITY")  # the user's own
    monkeypatch.setenv("WANDB_PROJECT", "")  # as if it were not set
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    assert {run.project for run in server.runs.values()} == {PROJECT}
    # Elsewhere, for others, and one of the runs is being sent by another process.
    server.forget()
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_PROJECT", "another")
    with (finished[0].path.parent / "wandb" / f"{finished[0].run_id}.lock").open("ab") as other:
        assert try_lock(other)
        assert main(command) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert {row[0]: row[-2:] for row in table} == {
        finished[0].run_id: ["0", "live"],
        finished[1].run_id: ["3", "ok"],
    }
    (shown,) = server.runs.values()
    assert (shown.project, shown.upserts[0]["entity"]) == ("another", "team")
    monkeypatch.setenv("WANDB_PROJECT", "team/another")
    assert main(command) == 2
    refused = capsys.readouterr().err
    assert refused.startswith("repro: WANDB_PROJECT: ") and "'team/another'" in refused and refused.count("\n") == 1
    monkeypatch.setenv("WANDB_PROJECT", "another")
    # The client of a process keeps the key it has once used: another needs another process.
    monkeypatch.setenv("WANDB_API_KEY", KEY.replace("a", "b"))
    ended = subprocess.run([sys.executable, "-m", "repro", *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("repro: W&B: ") and ended.stderr.count("\n") == 1
    monkeypatch.setenv("WANDB_BASE_URL", "example")
    ended = subprocess.run([sys.executable, "-m", "repro", *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("repro: W&B: WANDB_BASE_URL: ") and ended.stderr.count("\n") == 1


def test_sync_keeps_the_records_ids_where_variables_of_an_agent_or_a_user_name_others(
    finished: list[RunDirectory], server: StandInServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "another")
    monkeypatch.setenv("WANDB_FORK_FROM", "another?_step=1")
    shutil.copytree(finished[0].path, tmp_path / finished[0].run_id)
    # The client of a process reads the variables once: another needs another process.
    command = [sys.executable, "-m", "repro", "wandb", "sync", "--runs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {run_id: run.project for run_id, run in server.runs.items()} == {finished[0].run_id: PROJECT}
