"""The node's own disk: prepared data are copied there once, again when they change, and only what the runs read."""

import os
import resource
from pathlib import Path

import pytest
from config_contents import student, teacher

from repro.config import parse_config
from repro.errors import RunFailed
from repro.launch.request import Order, Request, order
from repro.launch.scratch import VARIABLE, stage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "imagenet").mkdir(parents=True)
    (folder / "digits.npz").write_text("the data set of the runs")
    (folder / "mnist.npz").write_text("another")
    return folder


@pytest.fixture
def orders() -> list[Order]:
    """Runs on the data set `digits`."""
    return [order(Request("run", parse_config(student(teacher()))))]


def test_without_scratch_data_are_read_where_they_are(
    data: Path, orders: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert stage(data, orders) == data


def test_what_runs_read_is_copied_and_the_rest_is_linked(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    copy = stage(data, orders)
    assert copy.is_relative_to(tmp_path / "disk")
    assert (copy / "digits.npz").read_text() == "the data set of the runs" and not (copy / "digits.npz").is_symlink()
    assert (copy / "mnist.npz").readlink() == data / "mnist.npz"
    assert (copy / "imagenet").readlink() == data / "imagenet"
    assert stage(tmp_path / "none", orders) == tmp_path / "none"  # nothing prepared: nothing to copy


def test_a_copy_is_kept_until_the_original_changes(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    copy = stage(data, orders) / "digits.npz"
    first = copy.stat().st_ino
    assert stage(data, orders) / "digits.npz" == copy and copy.stat().st_ino == first
    (data / "digits.npz").write_text("the data set, made anew.")
    os.utime(data / "digits.npz", (1, 1))
    assert (stage(data, orders) / "digits.npz").read_text() == "the data set, made anew."
    assert sorted(path.name for path in copy.parent.iterdir()) == ["digits.npz", "imagenet", "mnist.npz"]


@pytest.mark.parametrize(("content", "age"), [("THE DATA SET OF THE RUNS", 5), ("longer: the data set of the runs", 0)])
def test_a_change_of_size_or_time_alone_is_one(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, age: int
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    copy, time = stage(data, orders), (data / "digits.npz").stat().st_mtime_ns
    (data / "digits.npz").write_text(content)
    os.utime(data / "digits.npz", ns=(time, time - age * 10**9))  # older: put back from a backup
    assert stage(data, orders) == copy and (copy / "digits.npz").read_text() == content


def test_data_sets_of_pools_are_copied_whatever_their_files_end_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    (data / "imdb.jsonl.xz").write_text("texts")
    config = {"data": {"train": {"dataset": {"name": "imdb"}}, "pools": [{"dataset": {"name": "mnist"}}]}}
    copy = stage(data, [Order("a run", "0123456789ab", (), config)])
    assert {path.name for path in copy.iterdir() if not path.is_symlink()} == {"imdb.jsonl.xz", "mnist.npz"}


def test_what_another_job_only_linked_is_copied_for_a_job_that_reads_it(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    copy = stage(data, [])
    assert (copy / "digits.npz").is_symlink()
    assert stage(data, orders) == copy and not (copy / "digits.npz").is_symlink()
    assert (data / "digits.npz").read_text() == "the data set of the runs"


def test_the_copies_of_two_folders_are_kept_apart(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "digits.npz").write_text("the data set of the runs")
    assert stage(data, orders) != stage(other, orders)


def test_a_disk_that_cannot_be_used_is_said_in_one_line(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    (tmp_path / "disk").touch()
    with pytest.raises(RunFailed, match=r"disk/.* cannot be written: Not a directory"):
        stage(data, orders)


def test_a_full_disk_is_said_in_one_line_and_leaves_no_part_of_a_copy(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
    try:
        with pytest.raises(RunFailed, match=r"disk/.*/digits\.npz cannot be written: File too large"):
            stage(data, orders)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and not path.is_symlink()] == []
