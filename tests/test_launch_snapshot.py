"""The code that queued jobs run: a copy made at submission, named after its content, and named in every record."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repro import provenance
from repro.errors import BadInput
from repro.launch.snapshot import check_clean, take_snapshot
from repro.provenance import code_version, content_hash, slurm_job_id, source_files


def git(folder: Path, *arguments: str) -> None:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    environment = os.environ | identity | {"GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "everything")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git checkout of a package of two files, which `provenance` takes for its own."""
    package = tmp_path / "checkout" / "repro"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "code.py").write_text("value = 1\n")
    git(package.parent, "init", "-q")
    commit(package.parent)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    code_version.cache_clear()
    yield package
    code_version.cache_clear()


def test_a_snapshot_is_the_code_as_it_was_and_says_so(checkout: Path, tmp_path: Path) -> None:
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    code = code_version()
    assert (code["commit"], code["dirty"]) == (commit, False)
    (tmp_path / "code").mkdir()
    (tmp_path / "code").chmod(0o2775)  # as of a group that launches from the same folder of runs
    snapshot = take_snapshot(tmp_path / "code")
    assert snapshot.name == code["content"]
    (checkout / "inner" / "code.py").write_text("value = 2\n")
    command = [sys.executable, "-c", "from repro.inner import code; print(code.value)"]
    # As a job is started: from within the checkout.
    environment = os.environ | {"PYTHONPATH": str(snapshot), "PYTHONSAFEPATH": "1"}
    shown = subprocess.check_output(command, cwd=checkout.parent, env=environment, text=True)
    assert shown == "1\n"
    assert json.loads((snapshot / "snapshot.json").read_text()) == code
    assert stat.S_IMODE(snapshot.stat().st_mode) == 0o2775


def test_a_copy_of_what_was_committed_since_is_known_by_its_commit(checkout: Path, tmp_path: Path) -> None:
    """Else its runs would be of changed code for ever, though --require-clean lets them start."""
    (checkout / "inner" / "code.py").write_text("value = 2\n")
    snapshot = take_snapshot(tmp_path / "code")
    assert json.loads((snapshot / "snapshot.json").read_text())["dirty"] is True
    commit(checkout.parent)
    code_version.cache_clear()
    check_clean()
    for _ in range(2):
        assert take_snapshot(tmp_path / "code") == snapshot
        assert json.loads((snapshot / "snapshot.json").read_text()) == code_version()
        (snapshot / "snapshot.json").unlink()  # as by a clean-up of the disk


def test_a_copy_of_another_user_serves_if_it_is_known_by_a_commit(checkout: Path, tmp_path: Path) -> None:
    """The commit it has noted is of the same code, though perhaps not the latest one."""
    first = code_version()
    snapshot = take_snapshot(tmp_path / "code")
    (snapshot / ".snapshot.json.partial").mkdir()  # so that the note cannot be written, not even by root
    (checkout.parent / "docs.md").write_text("")
    commit(checkout.parent)
    code_version.cache_clear()
    assert code_version()["commit"] != first["commit"]
    assert take_snapshot(tmp_path / "code") == snapshot
    assert json.loads((snapshot / "snapshot.json").read_text()) == first
    (snapshot / "snapshot.json").write_text(json.dumps(first | {"dirty": True}))
    with pytest.raises(BadInput, match=rf"^{snapshot}/snapshot\.json cannot be written: Is a directory$"):
        take_snapshot(tmp_path / "code")


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("value = 3\n")])
def test_a_copy_that_has_lost_or_changed_a_file_is_not_taken_for_the_code(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """Jobs would fail at their start, launch after launch, or run other code than their records say."""
    snapshot = take_snapshot(tmp_path / "code")
    compiled = snapshot / "repro" / "inner" / "__pycache__" / "code.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"by a job")
    assert take_snapshot(tmp_path / "code") == snapshot
    spoil(snapshot / "repro" / "inner" / "code.py")
    with pytest.raises(BadInput, match=f"{snapshot}: this copy of the code has changed .*; remove it"):
        take_snapshot(tmp_path / "code")
    shutil.rmtree(snapshot)
    assert (take_snapshot(tmp_path / "code") / "repro" / "inner" / "code.py").read_text() == "value = 1\n"


def test_the_same_code_is_copied_once_and_changed_code_again(checkout: Path, tmp_path: Path) -> None:
    first = take_snapshot(tmp_path / "code")
    assert take_snapshot(tmp_path / "code") == first
    (checkout / "mine.py").write_text("")
    code_version.cache_clear()
    second = take_snapshot(tmp_path / "code")
    assert second != first
    assert json.loads((second / "snapshot.json").read_text())["dirty"] is True
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == sorted([first.name, second.name])


def test_require_clean_refuses_changed_code_and_code_without_a_commit(checkout: Path) -> None:
    check_clean()
    (checkout / "mine.py").write_text("")
    code_version.cache_clear()
    with pytest.raises(BadInput, match="--require-clean: the code has uncommitted changes"):
        check_clean()
    shutil.rmtree(checkout.parent / ".git")
    code_version.cache_clear()
    with pytest.raises(BadInput, match="--require-clean: the code is not in a git checkout"):
        check_clean()


def test_a_package_that_is_installed_inside_another_projects_checkout_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That project's commit says nothing of this code."""
    installed = checkout.parent / ".venv" / "repro"
    shutil.copytree(checkout, installed)
    (checkout.parent / ".gitignore").write_text(".venv\n")
    commit(checkout.parent)
    content = code_version()["content"]
    monkeypatch.setattr(provenance, "PACKAGE", installed)
    code_version.cache_clear()
    assert code_version() == {"commit": None, "dirty": None, "content": content}


@pytest.mark.usefixtures("checkout")
def test_a_snapshot_knows_the_code_it_was_taken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_version()
    snapshot = take_snapshot(tmp_path / "code")
    monkeypatch.setattr(provenance, "PACKAGE", snapshot / "repro")
    code_version.cache_clear()
    assert code_version() == code


def test_a_job_of_an_array_is_known_by_the_arrays_id_and_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `squeue` shows it; SLURM_JOB_ID is then another number."""
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert slurm_job_id() == "17"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm_job_id() == "12_3"


@pytest.mark.usefixtures("checkout")
def test_a_folder_that_pythonpath_cannot_name_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs and workers would run whatever code their environment has instead."""
    (tmp_path / "12:30").mkdir()
    monkeypatch.chdir(tmp_path / "12:30")
    with pytest.raises(BadInput, match=r"/12:30/runs/code: .* ':' separates the folders in PYTHONPATH; .* --runs"):
        take_snapshot(Path("runs/code"))
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("checkout")
def test_an_unwritable_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="the code cannot be copied there"):
        take_snapshot(tmp_path / "file" / "code")


def test_the_content_is_names_and_bytes_without_what_python_compiled(checkout: Path) -> None:
    (checkout / "__pycache__").mkdir()
    (checkout / "__pycache__" / "code.pyc").write_text("x")
    files = source_files()
    assert files == {"__init__.py": b"", "inner/code.py": b"value = 1\n"}
    hashes = {content_hash(other) for other in (files, {"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""})}
    assert len(hashes) == 4
