"""Runs made by real processes, one after the other and side by side; their output goes to no terminal."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from repro.cli import main
from repro.launch.sweep import find_sweep
from repro.store import RunDirectory, Store

pytestmark = pytest.mark.slow  # the runs that they share take ten seconds to make

THREADS = max(1, (os.cpu_count() or 1) // 2)
"""What `repro launch --workers 2` gives each worker: results promise to be equal only with as many threads."""

LABEL = "lenet_mnist trial=0 pool=0.25 (smoke)"


class Done(NamedTuple):
    code: int
    out: str
    err: str
    store: Store


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """`repro run`, by somebody who shares the runs with a group: a student and its teacher."""
    folder = tmp_path_factory.mktemp("one")
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "REPRO_RUNS": str(folder / "runs")}
    command = [sys.executable, "-m", "repro", "run", "lenet_mnist", "preset=smoke", "pool=0.25", "trial=0"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, umask=0o002
    )
    return Done(done.returncode, done.stdout, done.stderr, Store(folder / "runs"))


@contextlib.contextmanager
def stderr_in(path: Path) -> Iterator[None]:
    """Send what this process and its children write to stderr into a file."""
    saved = os.dup(2)
    with path.open("w", buffering=1) as file, contextlib.redirect_stderr(file):
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@pytest.fixture(scope="module")
def two(one: Done, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """`repro launch --workers 2`: the same student, its teacher being done, and another of a teacher that diverges."""
    folder = tmp_path_factory.mktemp("two")
    (teacher,) = of_kind(one.store, "teacher")
    shutil.copytree(teacher.path, folder / "runs" / teacher.run_id)
    command = ["launch", str(find_sweep("lenet_mnist")), "preset=smoke", "pool=0.25", "trial=0"]
    command += ["teachers.optimizer.learning_rate=[1e30, 0.05]", "--workers", "2", "--runs", str(folder / "runs")]
    with stderr_in(folder / "stderr"):
        code = main(command)
    return Done(code, "", (folder / "stderr").read_text(), Store(folder / "runs"))


def of_kind(store: Store, kind: str) -> list[RunDirectory]:
    return [run for run in store.runs() if run.config().kind == kind]


def test_the_group_may_write_what_its_umask_lets_it(one: Done) -> None:
    """Files that are made under another name first would be private."""
    files = [path for path in one.store.root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"checkpoint.pt", "summary.json", "metrics.jsonl", "lock", "run.log"}
    assert any(".launch" in path.parts for path in files)
    assert {path for path in files if path.stat().st_mode & 0o060 != 0o060} == set()


def test_one_run_makes_its_missing_parent_first_and_says_so(one: Done) -> None:
    assert one.code == 0, one.err
    (teacher,), (student,) = of_kind(one.store, "teacher"), of_kind(one.store, "student")
    assert student.config().parents()[0].run_id == teacher.run_id
    lines = one.err.splitlines()
    assert lines[0] == f"{LABEL}: training 1 missing parent(s) first"
    assert lines[1] == f"[1/2] teacher of {LABEL}: starts"
    assert lines.index(f"[2/2] {LABEL}: starts") > 1
    assert one.out.splitlines()[-1] == f"record: {student.path}"
    assert one.out.splitlines()[0] == LABEL
    shown = {line.split()[0]: float(line.split()[1]) for line in one.out.splitlines()[4:-2]}
    assert shown == pytest.approx(student.read_json("summary.json")["metrics"], abs=5.1e-5)


def test_a_run_made_by_a_worker_is_bit_identical_to_one_made_in_one_process(one: Done, two: Done) -> None:
    (run,) = of_kind(one.store, "student")
    again = two.store.run(run.run_id)
    for name in ("config.json", "metrics.jsonl", "model.safetensors", "predictions.safetensors"):
        assert (again.path / name).read_bytes() == (run.path / name).read_bytes(), name
    assert again.read_json("summary.json")["metrics"] == run.read_json("summary.json")["metrics"]


def test_a_failed_parent_keeps_only_its_own_children_from_starting(two: Done) -> None:
    assert two.code == 1
    assert sorted((run.config().kind, run.state()) for run in two.store.runs()) == [
        ("student", "done"),
        ("student", "failed"),
        ("teacher", "done"),
        ("teacher", "failed"),
    ]
    child, failed = sorted((run for run in two.store.runs() if run.state() == "failed"), key=lambda r: r.config().kind)
    assert child.failure() == f"its teacher {failed.run_id} failed: {failed.failure()}"
    assert not (child.path / "environment.json").exists()  # it was not started
    last = two.err.splitlines()[-1]
    assert last.startswith("repro: 2 of 3 runs are not done (")
    assert f"{child.run_id}: its teacher {failed.run_id} failed" in last
    assert f"repro: run {failed.run_id} (teacher of {LABEL} teachers.optimizer.learning_rate=1e+30): " in two.err
    assert "Traceback" not in two.err


def test_a_finished_parent_is_not_made_again(one: Done, two: Done) -> None:
    (teacher,) = of_kind(one.store, "teacher")
    again = two.store.run(teacher.run_id)
    for path in teacher.path.iterdir():
        assert (again.path / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns


def test_without_a_terminal_there_are_lines_and_no_control_characters(one: Done, two: Done) -> None:
    for output in (one.out, one.err, two.err):
        assert not set(output) & {chr(code) for code in (*range(32), 127)} - {"\n"}
    assert f"[2/2] {LABEL}: epoch 4/4  loss" in one.err
    assert two.err.splitlines()[0].endswith("lenet_mnist.yaml: 4 runs, 1 done, 3 to make")


@pytest.mark.parametrize(
    ("shell", "code", "out", "err"),
    [
        ("{status} | true", 1, "", ""),
        ("{status} > /dev/full", 1, "", "repro: a file: No space left on device\n"),
        ("PYTHONIOENCODING=ascii {status}", 0, "no runs in caf?\n", ""),
    ],
)
def test_output_that_cannot_be_written_or_shown_ends_no_command_in_an_error_of_python(
    shell: str, code: int, out: str, err: str, tmp_path: Path
) -> None:
    status = f"{sys.executable} -m repro status --runs café"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | {"PYTHONUTF8": "1"}
    command = ["bash", "-c", f"set -o pipefail; {shell.format(status=status)}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
