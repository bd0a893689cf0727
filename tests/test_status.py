"""How runs stand: the rows, which are documented and stable, and the table made of them."""

import os
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from config_contents import student, teacher
from processes import Process

from repro.cli import main
from repro.config import parse_config
from repro.launch.accounting import End
from repro.launch.slurm_queue import Task
from repro.launch.status import Named, status_row, status_table
from repro.store import RunDirectory, Store

KEYS = {"run_id", "label", "state", "epoch", "epochs", "metrics", "seconds_since_write", "holder", "error"}
KEYS |= {"sweep", "condition", "trial", "progress", "job", "job_state", "job_end", "host"}
ROW = {"epoch": 4, "step": 20, "train/loss": 0.5, "test/accuracy": 0.875, "test/agreement": 0.995, "test/kl": 0.0123}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return Store(tmp_path).run("0123456789ab")


@pytest.fixture
def begun(run: RunDirectory) -> RunDirectory:
    """An interrupted run of 20 epochs that got to its fourth."""
    run.path.mkdir()
    run.write_config(parse_config(teacher()))
    run.append_metrics({"epoch": 2, "test/accuracy": 0.5})
    run.append_metrics(ROW)
    return run


def row_of(run: RunDirectory, label: str = "mine", task: Task | None = None) -> dict[str, Any]:
    row = status_row(Named(run, label), task)
    assert row.keys() == KEYS
    assert row["run_id"] == run.run_id
    return row


def age(run: RunDirectory, seconds: float) -> None:
    """Make every file of the record that old."""
    for path in run.path.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_missing_run_has_nothing_but_its_name(run: RunDirectory) -> None:
    unknown = dict.fromkeys(KEYS - {"run_id", "label", "state", "metrics"})
    assert row_of(run) == {"run_id": "0123456789ab", "label": "mine", "state": "missing", "metrics": {}, **unknown}
    assert not run.path.exists()


def test_an_interrupted_run_shows_its_last_row(begun: RunDirectory) -> None:
    age(begun, 500)
    row = row_of(begun)
    assert (row["state"], row["epoch"], row["epochs"], row["metrics"]) == ("interrupted", 4, 20, ROW)
    assert (row["holder"], row["error"]) == (None, None)
    assert row["seconds_since_write"] == pytest.approx(500, abs=20)


def test_a_run_without_a_row_is_in_epoch_zero(run: RunDirectory) -> None:
    run.path.mkdir()
    run.write_config(parse_config(teacher()))
    row = row_of(run)
    assert (row["state"], row["epoch"], row["metrics"]) == ("interrupted", 0, {})


def test_a_failed_run_shows_why(begun: RunDirectory) -> None:
    begun.write_failure("the loss became nan", "...")
    row = row_of(begun)
    assert (row["state"], row["error"], row["epoch"]) == ("failed", "the loss became nan", 4)


def test_a_running_run_shows_who_writes_it_and_no_old_failure(begun: RunDirectory) -> None:
    begun.write_failure("the attempt before")
    with begun.lock(on_wait=print):
        row = row_of(begun)
    assert (row["state"], row["error"], row["epoch"]) == ("running", None, 4)
    assert row["holder"].startswith(f"process {os.getpid()} on ") and row["host"] == socket.gethostname()


def test_a_run_that_has_just_taken_its_lock_is_running_though_nothing_is_written(run: RunDirectory) -> None:
    with run.lock(on_wait=print):
        row = row_of(run)
    assert (row["state"], row["epochs"], row["metrics"]) == ("running", None, {})


def test_a_done_run_shows_its_final_metrics(begun: RunDirectory) -> None:
    begun.write_json("summary.json", {"metrics": {"test/accuracy": 0.9}, "seconds": 60.0, "data": {}})
    row = row_of(begun)
    assert (row["state"], row["epoch"], row["epochs"], row["metrics"]) == ("done", 20, 20, {"test/accuracy": 0.9})


def test_a_run_that_nobody_named_is_named_by_its_config(begun: RunDirectory, tmp_path: Path) -> None:
    assert row_of(begun, label="")["label"] == "teacher preresnet on digits"
    other = Store(tmp_path).run("ffffffffffff")
    other.path.mkdir()
    other.write_config(parse_config(student()))
    assert row_of(other, label="")["label"] == "student preresnet on digits"


def test_looking_at_a_record_while_it_is_written_neither_fails_nor_writes(begun: RunDirectory) -> None:
    def write(pipe: Connection) -> None:
        pipe.send("starts")
        while True:
            begun.write_failure("e")
            begun.write_json("environment.json", {"attempts": [{}]})
            begun.truncate_metrics(2)
            begun.forget_failure()

    writer = Process(write)
    writer.hear()
    states = set()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        row = row_of(begun)
        states.add(row["state"])
        assert (row["epoch"], row["metrics"]) == (4, ROW)
        assert row["error"] in (None, "e")
    writer.kill()
    assert states <= {"failed", "interrupted"}
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in begun.path.iterdir()}
    row_of(begun)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in begun.path.iterdir()} == before


def test_a_row_knows_its_sweep_its_progress_and_its_last_job(begun: RunDirectory) -> None:
    begun.write_json("environment.json", {"attempts": [{"job": "7", "host": "a"}, {"job": "9_2", "host": "b"}]})
    row = status_row(Named(begun, "mine", "digits", "images=100", 1))
    assert (row["sweep"], row["condition"], row["trial"], row["progress"]) == ("digits", "images=100", 1, 0.2)
    assert (row["job"], row["job_state"], row["host"]) == ("9_2", None, "b")


def test_a_row_shows_the_job_in_the_queue_and_why_it_is_pending(begun: RunDirectory) -> None:
    row = row_of(begun, task=Task("name", "12_3", "12", "PENDING", "Resources", ""))
    assert (row["job"], row["job_state"], row["host"]) == ("12_3", "PENDING (Resources)", None)
    row = row_of(begun, task=Task("name", "12_3", "12", "RUNNING", "None", "node7"))
    assert (row["job"], row["job_state"], row["host"]) == ("12_3", "RUNNING", "node7")


def test_a_row_shows_how_its_last_job_ended_unless_the_run_is_done_or_being_made(begun: RunDirectory) -> None:
    begun.write_json("environment.json", {"attempts": [{"job": "7", "host": "a"}]})
    end = End("12_3", "OUT_OF_MEMORY")
    row = status_row(Named(begun, "mine"), None, end)
    assert (row["job"], row["job_state"], row["job_end"]) == ("12_3", None, "OUT_OF_MEMORY")
    assert "12_3 OUT_OF_MEMORY" in status_table([row])
    queued = status_row(Named(begun, "mine"), Task("name", "13", "13", "RUNNING", "None", "n"), end)
    assert (queued["job"], queued["job_end"]) == ("13", None)
    with begun.lock(on_wait=print):
        assert status_row(Named(begun, "mine"), None, end)["job_end"] is None
    begun.write_json("summary.json", {"metrics": {}, "seconds": 60.0, "data": {}})
    done = status_row(Named(begun, "mine"), None, end)
    assert (done["job"], done["job_end"]) == ("7", None)


def test_the_last_row_is_found_however_long_the_rows_are(begun: RunDirectory) -> None:
    for length in (1, 4096, 10_000):
        row = {"epoch": 6, "text": "x" * length}
        begun.append_metrics(row)
        assert begun.last_metrics() == row == begun.metrics()[-1]
    with (begun.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 7')  # a killed writer's
    assert begun.last_metrics() == row


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_shows_each_run_in_a_line_and_counts_states(begun: RunDirectory, tmp_path: Path) -> None:
    failed = Store(tmp_path).run("ffffffffffff")
    failed.path.mkdir()
    failed.write_config(parse_config(teacher()))
    failed.write_failure("the loss became nan at epoch 0")
    age(begun, 7300)
    age(failed, 200)
    missing = Store(tmp_path).run("aaaaaaaaaaaa")
    table = status_table([row_of(begun, "first"), row_of(failed, "second"), row_of(missing, "third")])
    header, _, first, second, third, empty, counts = table.splitlines()
    assert header.split() == ["run", "what", "state", "epoch", "last", "metrics", "written"]
    shown = "loss 0.5  accuracy 87.5%  agreement 99.5%  kl 0.0123"
    assert first.split() == ["0123456789ab", "first", "interrupted", "4/20", *shown.split(), "2", "h", "ago"]
    assert second.split()[:4] == ["ffffffffffff", "second", "failed", "0/20"]
    assert "the loss became nan at epoch 0" in second
    assert second.endswith("3 min ago")
    assert third.split() == ["aaaaaaaaaaaa", "third", "missing"]
    assert (empty, counts) == ("", "3 runs: 1 interrupted, 1 failed, 1 missing")


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s ago"), (240, "4 min ago"), (7200, "2 h ago"), (3 * 86400, "3 d ago")]
)
def test_ages_are_in_a_unit_that_fits(begun: RunDirectory, seconds: float, words: str) -> None:
    assert words in status_table([row_of(begun) | {"seconds_since_write": seconds}])


@pytest.mark.parametrize("run_id", ["123456789012", "12345678e001", "0e0000000005"])
def test_a_run_id_that_looks_like_a_number_is_shown_as_it_is(run: RunDirectory, run_id: str) -> None:
    assert status_table([row_of(run) | {"run_id": run_id}]).splitlines()[2].split()[0] == run_id


def test_the_table_has_columns_for_jobs_and_sweeps_only_where_there_are_some(begun: RunDirectory) -> None:
    task = Task("name", "12_3", "12", "RUNNING", "None", "node7")
    rows = [status_row(Named(begun, "first", sweep), task) for sweep in ("digits", "vgg")]
    header, _, first, second, _, counts = status_table(rows).splitlines()
    assert header.split() == ["run", "sweep", "what", "state", "epoch", "last", "metrics", "job", "host", "written"]
    assert first.split()[1:3] == ["digits", "first"]
    assert second.split()[1:3] == ["vgg", "first"]
    assert "12_3 RUNNING  node7" in first
    assert counts == "2 runs: 2 interrupted; 2 in Slurm's queue"


def test_a_table_of_runs_of_one_sweep_that_have_not_begun_has_the_other_columns(run: RunDirectory) -> None:
    header, *_ = status_table([status_row(Named(run, "first", "digits"))]).splitlines()
    assert header.split() == ["run", "what", "state", "epoch", "last", "metrics", "written"]


def test_no_runs_are_said_with_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"
    assert main(["status", "--runs", str(nowhere)]) == 0
    assert capsys.readouterr().out == f"no runs in {nowhere}\n"
    (tmp_path / "link").symlink_to(nowhere)
    assert main(["status", "--runs", str(tmp_path / "link")]) == 2
    nowhere.touch()
    assert main(["status", "--runs", str(nowhere)]) == 2
    assert main(["status", "--runs", ""]) == 2
    said = capsys.readouterr().err.splitlines()
    for line, path in zip(said, ("link", "nowhere"), strict=False):
        assert line == f"repro: {tmp_path / path}: is not a folder of runs; see --runs"
    assert "--runs: is empty" in said[2]
