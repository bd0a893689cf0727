"""W&B shows what the records hold, and whatever goes wrong with it hurts no run. The real client, a server of ours."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import wandb
from runs import runner, small_student
from synthetic_records import SyntheticRecords, Truth, everywhere

from repro.bench.wandb_faults import FAULTS, full_disk, wait_for
from repro.bench.wandb_server import KEY, StandInServer
from repro.bench.wandb_server_runs import ENTITY
from repro.cli import main
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep
from repro.records import RunFolder
from repro.store import RunDirectory, Store
from repro.tracking import mirror
from repro.tracking.carried import FILE, digest, pack, unpack
from repro.tracking.description import PROJECT, Destination, destination, tags
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored
from repro.tracking.publish import Publication
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
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    monkeypatch.setenv("WANDB_MODE", "offline")  # the default of commands; this one was told otherwise
    said: list[str] = []
    with mirrored("online", tmp_path, labels(finished), said.append):
        made_again(finished, tmp_path)
    assert said == []
    for record in finished:
        assert_shows(server, record)


def test_sync_sends_what_is_missing_once(finished: list[RunDirectory], server: StandInServer, tmp_path: Path) -> None:
    to = Destination(PROJECT, ENTITY, tmp_path)
    named = [(record, labels(finished)[record.run_id]) for record in finished]
    unnamed = [(record, None) for record in finished]
    assert [(one.sent, one.problem) for one in sync(unnamed, to)] == [(3, None), (3, None)]
    shown = server.runs[finished[0].run_id]
    assert "study" not in shown.config()
    assert (shown.setting("displayName"), shown.setting("groupName")) == (finished[0].run_id, None)
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(0, None), (0, None)]  # now it knows their study
    assert server.runs[finished[0].run_id].config()["study"] == "study"
    for record in finished:
        assert_shows(server, record)
    requests = server.requests
    assert [(one.sent, one.problem) for one in sync(named, to)] == [(0, None), (0, None)]
    assert server.requests - requests < 10
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


def test_w_and_b_takes_the_tags_of_every_sweep() -> None:
    taken = set()
    for path in find_sweep("digits").parent.glob("*.yaml"):
        for one in parents_first(read_sweep(path, {})):
            shortened = tags(Label(one.label, path.stem, one.tags))
            assert all(
                short == tag[: len(short) - 1] + short[-1] for short, tag in zip(shortened, one.tags, strict=True)
            )
            taken.update(shortened)
    wandb.Settings(run_tags=tuple(taken))  # refuses those that are too long


def test_a_run_is_never_sent_by_two_processes_at_once(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where several commands make the same teacher, or at a sync while it is shown."""
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    named, said = labels(finished), list[str]()
    for record in finished:
        write_part(record, 1, tmp_path)
    teacher, student = (RunDirectory(tmp_path / record.run_id) for record in finished)
    to = destination(tmp_path)
    first = Publication(teacher, named[teacher.run_id], to)
    assert first.send_rows() == 1
    with mirrored("online", tmp_path, named, said.append):
        assert [(one.sent, one.problem, one.live) for one in sync([(teacher, named[teacher.run_id])], to)] == [
            (0, None, True)
        ]
    assert said == []
    assert server.runs[teacher.run_id].exit_code is None  # the second mirror left it alone
    assert server.runs[student.run_id].exit_code == 1
    shutil.copytree(finished[0].path, teacher.path, dirs_exist_ok=True)
    assert first.send_rows() == 2
    first.finish()
    assert_shows(server, teacher)
    assert [(one.sent, one.live) for one in sync([(teacher, named[teacher.run_id])], to)] == [(0, False)]


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


def test_what_does_not_arrive_in_time_is_an_error_and_sync_sends_it(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    """The server goes away between the first rows and the last: the client itself would end without a word."""
    teacher, student = finished
    named, to = labels(finished), Destination(PROJECT, ENTITY, tmp_path)
    write_part(teacher, 1, tmp_path)
    part = RunDirectory(tmp_path / teacher.run_id)
    assert [one.problem for one in sync([(part, named[teacher.run_id])], to)] == [None]
    publication = Publication(part, named[teacher.run_id], to, finish_seconds=2.0)
    server.fault = "dropped"
    shutil.copytree(teacher.path, part.path, dirs_exist_ok=True)
    assert publication.send_rows() == 2
    with pytest.raises(TimeoutError):
        publication.finish()
    server.fault = "none"
    assert [(one.rows, one.sent, one.problem) for one in sync([(part, named[teacher.run_id])], to)] == [(3, 2, None)]
    assert_shows(server, teacher)
    # What the server does not take is found where everything seemed to be sent.
    server.refused_files = {FILE}
    assert [one.problem for one in sync([(student, None)], to)] == ["W&B lacks record.zip"]


def test_a_failed_run_that_is_made_again_is_shown_to_its_end(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command that found the failure of an earlier one, such as `repro launch --retry failed`."""
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    whole = finished[0]
    write_part(whole, 1, tmp_path)
    run, said = RunDirectory(tmp_path / whole.run_id), list[str]()
    run.write_failure("no space left on device")
    with mirrored("online", tmp_path, labels([whole]), said.append):
        deadline = time.monotonic() + 300
        while run.run_id not in server.runs or server.runs[run.run_id].exit_code is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.runs[run.run_id].exit_code == 1
        assert server.runs[run.run_id].summary()["failure"] == "no space left on device"
        attempts = run.read_json("environment.json")["attempts"]
        run.write_json("environment.json", {"attempts": [*attempts, {**attempts[0], "machine": {"host": "another"}}]})
        run.forget_failure()
        for name in ("metrics.jsonl", "predictions.safetensors", "summary.json"):
            shutil.copy(whole.path / name, run.path / name)
    assert said == []
    assert_shows(server, whole)
    assert "failure" not in server.runs[run.run_id].summary()
    assert server.runs[run.run_id].config()["record"]["attempts"] == 2
    assert server.runs[run.run_id].config()["record"]["machine"] == {"host": "another"}


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


def test_a_record_that_cannot_be_read_is_said_and_the_others_are_shown(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    named, said = labels(finished), list[str]()
    write_part(finished[1], 1, tmp_path / "online")
    with (tmp_path / "online" / finished[1].run_id / "metrics.jsonl").open("a") as file:
        file.write("\0\0\0\n")
    with mirrored("online", tmp_path / "online", named, said.append):
        made_again(finished[:1], tmp_path / "online")
    assert len(said) == 1 and "its record cannot be read" in said[0]
    assert_shows(server, finished[0])

    server.forget()
    damaged, lacking = (
        RunDirectory(shutil.copytree(record.path, tmp_path / "offline" / record.run_id)) for record in finished
    )
    (damaged.path / "summary.json").write_text("{")
    (lacking.path / "model.safetensors").unlink()
    to = Destination(PROJECT, ENTITY, tmp_path)
    found = list(sync([(record, named[record.run_id]) for record in (damaged, lacking)], to, models=True))
    assert found[0].problem is not None and "its record cannot be read" in found[0].problem
    assert server.runs[damaged.run_id].exit_code == 1
    assert (found[1].sent, found[1].problem) == (3, f"there is no {lacking.path / 'model.safetensors'}")
    assert server.runs[lacking.run_id].exit_code == 0


BOUND = 3.0


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_of_w_and_b_reaches_the_run_nor_holds_it_longer_than_the_bound(
    name: str,
    finished: list[RunDirectory],
    server: StandInServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`repro bench wandb_faults` measures the same with real training and the bound that commands have."""
    if FAULTS[name] is full_disk and os.geteuid() != 0:
        pytest.skip("a small disk to fill: only root can mount one")
    monkeypatch.setattr(mirror, "END_SECONDS", BOUND)
    runs = tmp_path / "runs"
    waited, said = wait_for(FAULTS[name], server, runs, labels(finished), lambda: made_again(finished, runs))
    assert waited < BOUND + 1.5
    assert len(said) == 1
    assert said[0].startswith("warning: W&B lacks something (")
    assert "`repro wandb sync --runs" in said[0]


def write_part(whole: RunDirectory, rows: int, runs: Path, torn: bool = False) -> None:
    """The record as it stands when so many rows are written, or when its writer was killed in the next one."""
    part = RunDirectory(runs / whole.run_id)
    shutil.rmtree(part.path, ignore_errors=True)
    part.path.mkdir(parents=True)
    for name in ("config.json", "environment.json"):
        shutil.copy(whole.path / name, part.path / name)
    lines = (whole.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (part.path / "metrics.jsonl").write_text("".join(lines[:rows]) + (lines[rows][:20] if torn else ""))


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
    assert synced(killed[:3]) == 3 * [(0, "W&B holds 6 rows, the record 4")]
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


@pytest.mark.usefixtures("server")
def test_sync_tells_the_truth_with_its_exit_code(
    finished: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wandb", "sync", "--runs", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    command = ["wandb", "sync", "--runs", str(finished[0].path.parent)]
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    # The client of a process keeps the key it has once used: another needs another process.
    monkeypatch.setenv("WANDB_API_KEY", KEY.replace("a", "b"))
    refused = subprocess.run([sys.executable, "-m", "repro", *command], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("repro: W&B: ") and refused.stderr.count("\n") == 1
    monkeypatch.setenv("WANDB_BASE_URL", "example")
    refused = subprocess.run([sys.executable, "-m", "repro", *command], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("repro: W&B: WANDB_BASE_URL: ") and refused.stderr.count("\n") == 1
