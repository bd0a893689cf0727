"""W&B shows what the records hold, and whatever goes wrong with it hurts no run. The real client, a server of ours."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
import wandb
from mirrored_runs import assert_shows, finished_runs, labels, made_again, wait_until, write_part

from repro.atomic import write_atomically
from repro.bench.wandb_faults import FAULTS, full_disk, wait_for
from repro.bench.wandb_server import StandInServer
from repro.bench.wandb_server_runs import ENTITY
from repro.launch.plan import parents_first
from repro.launch.sweep import all_sweeps, read_sweep
from repro.records import RunFolder
from repro.store import RunDirectory, Store
from repro.tracking import carried, mirror, offline
from repro.tracking.carried import digest, file_name, pack, unpack
from repro.tracking.description import PROJECT, Destination, destination, tags
from repro.tracking.label import Label
from repro.tracking.mirror import Mode, mirrored
from repro.tracking.publish import Publication
from repro.tracking.sync import sync

BOUND = 3.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    return finished_runs(tmp_path_factory.mktemp("finished"))


@pytest.mark.parametrize("mode", ["online", "auto"])
def test_runs_appear_while_they_are_made_row_for_row(
    mode: Mode, finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    monkeypatch.setattr(offline, "PROBE_SECONDS", 60.0)  # however busy the machine is
    monkeypatch.setenv("WANDB_MODE", "offline")  # the default of commands; this one was told otherwise
    said: list[str] = []
    with mirrored(mode, tmp_path, labels(finished), said.append):
        made_again(finished, tmp_path)
    assert said == []
    for record in finished:
        assert_shows(server, record)


def test_w_and_b_takes_the_tags_of_every_sweep() -> None:
    taken: set[str] = set()
    for path in all_sweeps():
        for one in parents_first(read_sweep(path, {})):
            shortened = tags(Label(one.label, path.stem, one.tags))
            for short, tag in zip(shortened, one.tags, strict=True):  # cut no further than need be
                assert short == (tag if len(tag) <= 64 else f"{tag[:63]}…")
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
    with teacher.lock(pytest.fail), mirrored("online", tmp_path, named, said.append):
        assert [(one.sent, one.problem, one.live) for one in sync([(teacher, named[teacher.run_id])], to)] == [
            (0, None, True)
        ]
    assert said == []
    assert server.runs[teacher.run_id].exit_code is None  # the second mirror left it alone
    assert server.runs[student.run_id].exit_code == 1
    with mirrored("online", tmp_path, named, said.append):
        shutil.copytree(finished[0].path, teacher.path, dirs_exist_ok=True)
        assert first.send_rows() == 2
        first.finish()
        upserts = len(server.runs[teacher.run_id].upserts)
    assert said == []
    assert_shows(server, teacher)
    assert len(server.runs[teacher.run_id].upserts) == upserts  # the second mirror did not open it again
    assert [(one.sent, one.live) for one in sync([(teacher, named[teacher.run_id])], to)] == [(0, False)]


def test_what_is_written_while_sync_sends_a_run_is_sent_once_sync_has_ended(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    teacher, student = (RunDirectory(tmp_path / record.run_id) for record in finished)
    named, said = labels(finished), list[str]()
    write_part(finished[0], 1, tmp_path)
    sent_by_sync = Publication(teacher, named[teacher.run_id], destination(tmp_path))
    sent_by_sync.send_rows()
    with mirrored("online", tmp_path, named, said.append):
        with teacher.lock(pytest.fail):
            made_again(finished[1:], tmp_path)
            wait_until(lambda: student.run_id in server.runs)  # so the mirror has looked at the teacher before
            shutil.copytree(finished[0].path, teacher.path, dirs_exist_ok=True)
        end = threading.Timer(1.0, sent_by_sync.finish)
        end.start()
    end.join()
    assert said == []
    for record in (teacher, student):
        assert_shows(server, record)


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
    assert torch.equal(kept["shown_train_logits"], all_of_it["shown_train_logits"])
    assert kept.keys() == {"test_logits", "test_labels", "shown_train_logits"}


def test_a_record_that_was_unpacked_in_part_is_not_taken_as_done(
    finished: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full: it is then downloaded again, since its digest does not cover its predictions."""
    content, part = pack(finished[0]), RunDirectory(tmp_path / finished[0].run_id)
    for missing in ("predictions.safetensors", "config.json", "environment.json", "metrics.jsonl", "summary.json"):

        def write(path: Path, member: bytes, missing: str = missing) -> None:
            if path.name == missing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_atomically(path, member)

        monkeypatch.setattr(carried, "write_atomically", write)
        with pytest.raises(OSError, match="No space left"):
            unpack(content, part)
        assert not part.is_done(), missing


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
    another = Label("another", "another", ("another study", "smoke"))
    publication = Publication(student, another, to)
    assert publication.send_rows() == 1
    assert publication.finish() is None
    assert_shows(server, student)
    assert server.runs[student.run_id].config()["study"] == "study"  # the one that requested it first


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
    server.refused_files = {file_name(digest(student))}
    for _ in range(2):
        assert [one.problem for one in sync([(student, None)], to)] == ["W&B lacks its record"]


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
        wait_until(lambda: run.run_id in server.runs and server.runs[run.run_id].exit_code is not None)
        assert server.runs[run.run_id].exit_code == 1
        assert server.runs[run.run_id].summary()["failure"] == "no space left on device"
        run.forget_failure()
        run.write_failure("the loss became nan")  # at the next try
        wait_until(lambda: server.runs[run.run_id].summary()["failure"] == "the loss became nan")
        assert not server.runs[run.run_id].preempted
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
    assert len(said) == 1 and "a record cannot be read" in said[0]
    assert_shows(server, finished[0])

    server.forget()
    lacking, damaged = (  # teacher and student: without its teacher's summary, a student could not be shown either
        RunDirectory(shutil.copytree(record.path, tmp_path / "offline" / record.run_id)) for record in finished
    )
    (damaged.path / "summary.json").write_text("{")
    (lacking.path / "model.safetensors").unlink()
    to = Destination(PROJECT, ENTITY, tmp_path)
    found = list(sync([(record, named[record.run_id]) for record in (damaged, lacking)], to, models=True))
    assert found[0].problem is not None and "a record cannot be read" in found[0].problem
    assert server.runs[damaged.run_id].exit_code == 1
    assert (found[1].sent, found[1].problem) == (3, f"there is no {lacking.path / 'model.safetensors'}")
    assert server.runs[lacking.run_id].exit_code == 0


def test_what_the_server_refuses_for_good_is_said_while_the_command_goes_on(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path
) -> None:
    """As of a project that is full: the client drops it without a word."""
    said: list[str] = []
    server.refused_files = {"file_stream"}
    with mirrored("online", tmp_path, labels(finished), said.append):
        made_again(finished[:1], tmp_path)
        wait_until(lambda: bool(said))
    assert len(said) == 1
    assert f"(run {finished[0].run_id}: W&B has 0 rows, the record 3)" in said[0]


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
    assert said[0].startswith("warning: W&B is incomplete (")
    assert "`repro wandb sync --runs" in said[0]
