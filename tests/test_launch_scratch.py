"""The node's own disk: prepared data are copied there once, again when they change, and only what the runs read."""

import os
from pathlib import Path

import pytest
from config_contents import student, teacher

from repro.config import parse_config
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


def test_the_copies_of_two_folders_are_kept_apart(
    data: Path, orders: list[Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "digits.npz").write_text("the data set of the runs")
    assert stage(data, orders) != stage(other, orders)
