"""Run directories: whole files whatever happens, and what a record tells about its run."""

import json
import os
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from config_contents import student, teacher
from processes import PATIENCE, Process

from repro.atomic import write_atomically
from repro.config import parse_config
from repro.errors import BadInput, Damaged, RunFailed
from repro.store import RunDirectory, Store


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return Store(tmp_path / "runs").run("0123456789ab")


@pytest.fixture
def begun(run: RunDirectory) -> RunDirectory:
    """A run that has its config."""
    run.path.mkdir(parents=True)
    run.write_config(parse_config(teacher()))
    return run


def nothing(_: str) -> None:
    """For a lock that nobody else asks for."""


# -- whole files -------------------------------------------------------------------------------------------------------


def test_a_process_killed_while_it_rewrites_a_file_leaves_the_old_or_the_new_content_whole(tmp_path: Path) -> None:
    path = tmp_path / "record"
    contents = {b"a" * 3_000_000, b"b" * 1_000_000}
    write_atomically(path, b"a" * 3_000_000)

    def rewrite(pipe: Connection) -> None:
        pipe.send("starts")
        while True:
            for content in sorted(contents):
                write_atomically(path, content)

    seen: set[bytes] = set()

    def look() -> None:
        content = path.read_bytes()  # never missing
        assert content in contents
        seen.add(content)

    for attempt in range(6):
        writer = Process(rewrite)
        writer.hear()
        start = time.monotonic()
        while time.monotonic() < start + (0.05 + 0.031 * attempt if seen == contents else PATIENCE):
            look()
        writer.kill()
        look()
    assert seen == contents


def test_content_is_on_the_disk_before_it_gets_its_name_and_the_name_before_the_call_returns(
    begun: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, a machine that loses power keeps the new name of a file without its content."""
    flushed: list[tuple[str, str | None]] = []
    fsync, path = os.fsync, begun.path / "new.json"

    def flush(number: int) -> None:
        fsync(number)
        flushed_path = Path(f"/proc/self/fd/{number}").readlink()
        flushed.append((flushed_path.name, None if flushed_path.is_dir() else flushed_path.read_text()))
        assert path.exists() == (flushed_path == begun.path)

    monkeypatch.setattr(os, "fsync", flush)
    begun.write_json("new.json", {})
    assert flushed == [(".new.json.partial", "{}\n"), (begun.run_id, None)]


def test_a_row_of_metrics_is_on_the_disk_when_it_is_said_to_be_written(
    begun: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint after it counts on it."""
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(Path(f"/proc/self/fd/{number}").read_text()))
    begun.append_metrics({"epoch": 1})
    begun.append_metrics({"epoch": 2})
    assert flushed == ['{"epoch": 1}\n', '{"epoch": 1}\n{"epoch": 2}\n']


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_not_written(begun: RunDirectory, value: float) -> None:
    for write in (begun.append_metrics, lambda content: begun.write_json("summary.json", content)):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write({"test/nll": value})
    assert begun.metrics() == []
    assert not begun.is_done()


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_record(begun: RunDirectory) -> None:
    """A file size limit stands in for a full disk: the bytes before it are written, then the call fails."""
    row, large = {"epoch": 1}, {"text": "x" * 100_000}
    summary = {"metrics": {}, "seconds": 1.0, "data": {}}
    begun.write_json("summary.json", summary)
    begun.write_checkpoint({"step": 7})
    begun.append_metrics(row)

    def work(pipe: Connection) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        attempts: list[Callable[[], None]] = [
            lambda: begun.write_json("summary.json", large),
            lambda: begun.write_json("new.json", large),
            lambda: begun.write_checkpoint({"weights": torch.zeros(100_000)}),
            lambda: begun.write_tensors("predictions.safetensors", {"logits": torch.zeros(100_000)}),
            lambda: begun.append_metrics(large),
        ]
        for attempt in attempts:
            try:
                attempt()
                pipe.send("written")
            except RunFailed as error:
                pipe.send(str(error))

    writer = Process(work)
    for name in ("summary.json", "new.json", "checkpoint.pt", "predictions.safetensors", "metrics.jsonl"):
        assert writer.hear() == f"{begun.path / name} cannot be written: File too large"
    assert begun.read_json("summary.json") == summary
    assert begun.checkpoint() == {"step": 7}
    assert begun.metrics() == [row]
    assert not (begun.path / "new.json").exists()
    assert not (begun.path / "predictions.safetensors").exists()
    begun.truncate_metrics(1)
    assert (begun.path / "metrics.jsonl").read_text() == '{"epoch": 1}\n'


def test_what_a_failed_write_left_behind_is_no_run_and_is_overwritten(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    (run.path / ".config.json.partial").write_text('{"run_id')
    (run.path / ".summary.json.partial").write_text("{}")
    assert run.state() == "missing"
    assert Store(run.path.parent).runs() == []
    run.write_config(parse_config(teacher()))
    assert run.state() == "interrupted"
    assert Store(run.path.parent).runs() == [run]
    assert not (run.path / ".config.json.partial").exists()


def test_a_file_where_the_runs_should_be_is_refused_naming_it_and_the_option(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    for root in (tmp_path / "runs", tmp_path / "runs" / "below"):
        run = Store(root).run("0123456789ab")
        assert run.state() == "missing"
        problem = rf"^{root}: cannot keep runs there \((Not a directory|File exists)\); see --runs$"
        with pytest.raises(BadInput, match=problem), run.lock(nothing):
            pass
    assert (tmp_path / "runs").read_text() == "not a folder"


# -- states ------------------------------------------------------------------------------------------------------------


def test_a_run_goes_through_its_states(run: RunDirectory) -> None:
    assert run.state() == "missing"
    with run.lock(nothing):
        assert run.state() == "running"
        run.write_config(parse_config(teacher()))
        assert run.state() == "running"
    assert run.state() == "interrupted"
    run.write_failure("the loss became nan")
    assert run.state() == "failed"
    assert run.failure() == "the loss became nan"
    with run.lock(nothing):
        assert run.state() == "running"
        run.forget_failure()
    assert run.state() == "interrupted"
    assert run.failure() is None
    with run.lock(nothing):
        run.write_json("summary.json", {})
        assert run.state() == "done"
        assert run.is_done()
    assert run.state() == "done"


def test_asking_for_the_state_changes_nothing(run: RunDirectory) -> None:
    assert (run.state(), run.holder(), run.metrics(), run.checkpoint()) == ("missing", None, [], None)
    assert not run.path.parent.exists()


def test_a_store_lists_its_runs_by_id_and_nothing_else(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").runs() == []
    for run_id in ("bbbbbbbbbbbb", "aaaaaaaaaaaa"):
        run = Store(tmp_path).run(run_id)
        run.path.mkdir()
        run.write_config(parse_config(teacher()))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    assert [run.run_id for run in Store(tmp_path).runs()] == ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_config_is_read_back_as_it_was(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    config = parse_config(student())
    run.write_config(config)
    assert run.config() == config
    assert run.read_json("config.json")["run_id"] == config.run_id


def test_a_line_that_a_killed_writer_did_not_finish_is_no_row(begun: RunDirectory) -> None:
    rows: list[dict[str, Any]] = [{"epoch": epoch, "test/nll": 0.1 * epoch} for epoch in (1, 2, 3)]
    for row in rows:
        begun.append_metrics(row)
    path = begun.path / "metrics.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert begun.metrics() == rows[:2]
    path.write_bytes(whole)
    assert begun.metrics() == rows


def test_truncated_metrics_keep_the_first_rows_to_the_bit_and_can_be_continued(begun: RunDirectory) -> None:
    rows = [{"epoch": epoch, "test/nll": 1 / (3 + epoch), "tiny": 5e-324} for epoch in range(4)]
    for row in rows:
        begun.append_metrics(row)
    with (begun.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "test/n')
    begun.truncate_metrics(2)
    text = (begun.path / "metrics.jsonl").read_text()
    assert text == "".join(json.dumps(row) + "\n" for row in rows[:2])
    begun.append_metrics(rows[2])
    assert begun.metrics() == rows[:3]
    begun.truncate_metrics(0)
    assert (begun.path / "metrics.jsonl").read_bytes() == b""


def test_metrics_shorter_than_the_checkpoint_says_are_refused_and_kept(begun: RunDirectory) -> None:
    begun.append_metrics({"epoch": 1})
    problem = rf"metrics\.jsonl: damaged \(it has 1 rows, its checkpoint knows of 2\); remove {begun.path} to make"
    with pytest.raises(Damaged, match=problem):
        begun.truncate_metrics(2)
    assert begun.metrics() == [{"epoch": 1}]


def test_tensors_and_checkpoints_are_read_back_to_the_bit(begun: RunDirectory) -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    tensors = {"transposed": values.T, "strided": values[::2], "labels": torch.tensor([1, 2]), "empty": values[:0]}
    tensors |= {"tied": values, "tied as well": values}
    begun.write_tensors("predictions.safetensors", tensors)
    channels_last = values.view(1, 6, 2, 2).to(memory_format=torch.channels_last)
    begun.write_tensors("model.safetensors", {"channels_last": channels_last})
    read = begun.predictions()
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    assert torch.equal(begun.weights()["channels_last"], values.view(1, 6, 2, 2))
    begun.write_checkpoint({"step": 3, "state": {"weight": values}, "rng": torch.get_rng_state(), "none": None})
    checkpoint = begun.checkpoint()
    assert checkpoint is not None
    assert (checkpoint["step"], checkpoint["none"]) == (3, None)
    assert torch.equal(checkpoint["state"]["weight"], values)
    assert torch.equal(checkpoint["rng"], torch.get_rng_state())


def test_the_age_of_a_record_is_that_of_its_newest_file(begun: RunDirectory) -> None:
    now = time.time()
    begun.append_metrics({"epoch": 1})
    os.utime(begun.path / "config.json", (now - 5000, now - 5000))
    os.utime(begun.path / "metrics.jsonl", (now - 1000, now - 1000))
    assert begun.seconds_since_write() == pytest.approx(1000, abs=20)
    os.utime(begun.path / "metrics.jsonl", (now + 1000, now + 1000))  # by another machine's clock
    assert begun.seconds_since_write() == 0.0
