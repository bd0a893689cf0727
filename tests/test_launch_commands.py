"""`repro launch`, `cancel` and `logs` in this process: what they refuse, show and leave alone. No Slurm is needed."""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from commands import Repro, calling
from pretend_slurm import PretendSlurm
from processes import Process
from runs import runner

from repro.cli import main
from repro.commands import _remembered
from repro.errors import BadInput
from repro.launch.ledger import Ledger
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep
from repro.provenance import code_version
from repro.store import Store

DIGITS = str(find_sweep("digits"))
ONE = [DIGITS, "preset=smoke", "trial=0", "images=100"]
SLURM = ["--cluster", "slurm", "--profile"]


@pytest.fixture
def repro(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repro:
    """Runs a command in an empty folder, on a machine without Slurm."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for variable in ("REPRO_RUNS", "REPRO_DATA", "REPRO_PROFILES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    git = tmp_path / "bin"
    git.mkdir()
    monkeypatch.setenv("PATH", str(git))
    return calling(capsys)


@pytest.fixture
def profile(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "p.yaml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([*ONE, "--cluster", "slrm"], "argument --cluster: invalid choice: 'slrm'"),
        ([*ONE, "--retry", "all"], "argument --retry: invalid choice: 'all'"),
        ([*ONE, "--cluster", "slurm"], "--cluster slurm needs --profile; there are: academic_gpu, cpu, devcluster"),
        ([*ONE, *SLURM, "devclutser"], "--profile devclutser: no such profile in "),
        ([*ONE, *SLURM, "cpu"], "--cluster slurm: there is no Slurm on this machine (sbatch, squeue, srun, scancel)"),
        ([*ONE, *SLURM, "cpu", "--workers", "2"], "--workers works only with --cluster local; for jobs, set the key"),
        ([*ONE, *SLURM, "cpu", "--device", "cpu"], "--device works only with --cluster local; for jobs, set the key"),
        ([*ONE, "--profile", "cpu"], "--profile needs --cluster slurm"),
        ([*ONE, "--speeds", "speeds.json"], "--speeds needs --dry-run"),
        ([*ONE, "--wait"], "--wait needs --cluster slurm"),
        ([*ONE, "--device", "cpu,tpu"], "--device tpu is not a device"),
        ([*ONE, "--device", "cpu,cpu"], "--device cpu,cpu: 2 devices need --workers 2 or more, so that each has a run"),
        ([*ONE, "--device", "cpu,cpu,cpu", "--workers", "2"], "--device cpu,cpu,cpu: 3 devices need --workers 3 or"),
        ([DIGITS, "imagse=100", *SLURM, "cpu"], "digits has no setting 'imagse'; did you mean 'images'?"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    repro: Repro, arguments: list[str], problem: str
) -> None:
    code, out, err = repro("launch", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"repro: {problem}")
    assert err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def test_a_fault_in_a_profile_is_told_before_anything_is_submitted(repro: Repro, profile: Callable[[str], str]) -> None:
    path = profile("partition: x\nruns_pr_job: 3\n")
    code, _, err = repro("launch", *ONE, *SLURM, path)
    assert (code, err) == (2, f"repro: {path}:2: unknown key 'runs_pr_job' (given 3); did you mean 'runs_per_job'?\n")
    assert list(Path.cwd().iterdir()) == []


def test_runs_that_cannot_be_shared_by_the_processes_of_a_profile_are_not_submitted(
    repro: Repro, profile: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their jobs would wait in the queue, perhaps for a day, to fail at once."""
    slurm = PretendSlurm(tmp_path / "slurm", Path("runs"), monkeypatch)
    code, out, err = repro("launch", *ONE, *SLURM, profile("cpus: 4\nprocesses_per_run: 4\n"))
    assert (code, out) == (2, "")
    assert err.startswith("repro: 4 processes cannot share steps of 1 micro-batch(es): set micro_batch_size to ")
    assert slurm.submitted == 0 and Ledger(Path("runs")).submissions() == [] and Store(Path("runs")).runs() == []


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_with_require_clean_nothing_starts_unless_the_code_is_a_commit(repro: Repro, cluster: str) -> None:
    code_version.cache_clear()  # here is no git to ask
    try:
        code, out, err = repro("launch", *ONE, "--require-clean", "--cluster", cluster)
    finally:
        code_version.cache_clear()
    assert (code, out, err) == (2, "", "repro: --require-clean: the code is not in a git checkout\n")
    assert list(Path.cwd().iterdir()) == []


def test_a_dry_run_shows_arrays_and_the_options_of_sbatch_where_there_is_no_slurm(
    repro: Repro, profile: Callable[[str], str]
) -> None:
    path = profile('partition: x\ntime: "02:00:00"\nruns_per_job: 2\nsbatch: {constraint: a100}\n')
    code, out, err = repro("launch", DIGITS, "preset=smoke", *SLURM, path, "--dry-run")
    assert (code, err) == (0, "")
    assert "12 distinct runs (3 teachers, 9 students)" in out
    assert "no estimate of run-hours on CPUs: no similar record" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["0", "2", "3", "256"] in rows
    assert ["1", "5", "9", "256", "level", "0"] in rows
    assert out.splitlines()[-1] == (
        "sbatch --job-name=repro-digits-TOKEN --partition=x --time=120 --cpus-per-task=2 --mem=8G --signal=USR2@90 "
        "--requeue --kill-on-invalid-dep=yes --constraint=a100"
    )
    assert list(Path.cwd().iterdir()) == []


def test_a_failed_run_is_shown_and_made_again_only_when_asked_for(repro: Repro) -> None:
    bad = [DIGITS, "preset=smoke", "trial=0", "images=100", "teachers.optimizer.learning_rate=[1e30,0.05]"]
    code, _, err = repro("launch", *bad)
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith("repro: 2 of 4 runs are not done (")  # the other teacher and its student were made
    rows = {row["run_id"]: row for row in json.loads(repro("status", "--json").out)}
    assert sorted(row["state"] for row in rows.values()) == ["done", "done", "failed", "failed"]
    assert {(row["sweep"], row["trial"]) for row in rows.values()} == {("digits", 0)}
    (teacher,) = [row for row in rows.values() if row["state"] == "failed" and row["condition"].startswith("teacher")]
    attempts = Store(Path("runs")).run(teacher["run_id"]).path / "environment.json"
    made_once = attempts.read_bytes()

    code, _, err = repro("launch", *bad)
    assert code == 1
    assert "4 runs, 2 done, 1 blocked, 1 failed, 0 to make" in err
    assert err.splitlines()[-1].startswith(f"repro: skipped 1 run that failed before ({teacher['run_id']}: the")
    assert attempts.read_bytes() == made_once

    assert repro("launch", *bad, "--retry", "failed").code == 1
    assert len(json.loads(attempts.read_text())["attempts"]) == 2


def test_what_fails_in_another_launch_meanwhile_is_not_made_again(repro: Repro) -> None:
    teacher, student = parents_first(read_sweep(find_sweep("digits"), {"preset": "smoke", "trial": 0, "images": 100}))
    record = Store(Path("runs")).run(teacher.run_id)

    def other(pipe: Connection) -> None:
        with record.lock(on_wait=print):
            pipe.send("trains")
            pipe.recv()  # the launch below has seen it train
            record.write_config(teacher.config)
            record.write_failure("the loss became nan")

    elsewhere = Process(other)
    assert elsewhere.hear() == "trains"

    class Told(StringIO):
        def write(self, text: str) -> int:
            if "2 runs, 0 done, 1 running, 1 to make" in text:
                elsewhere.pipe.send("seen")
            return super().write(text)

    said = Told()
    with redirect_stderr(said):
        code = repro("launch", *ONE, "--retry", "failed").code
    err = said.getvalue()
    assert code == 1
    assert "has failed since this launch began: the loss became nan" in err.splitlines()[-1]
    assert record.failure() == "the loss became nan"
    assert not (record.path / "environment.json").exists()  # nobody began it here
    assert Store(Path("runs")).run(student.run_id).failure() == (
        f"its teacher {teacher.run_id} failed: the loss became nan"
    )


def test_sweep_files_of_one_name_in_two_folders_do_not_forget_each_other(repro: Repro) -> None:
    conditions = set()
    for images in (100, 300):
        file = Path(str(images)) / "mine.yaml"
        file.parent.mkdir()
        grid = f"{{preset: {{value: smoke}}, trial: {{value: 0}}, images: {{value: {images}}}}}"
        file.write_text(f"program: digits\nmethod: grid\nparameters: {grid}\n")
        assert repro("launch", str(file)).code == 0
        conditions.add(f"images={images}")
    rows = json.loads(repro("status", "--json").out)
    assert conditions <= {row["condition"] for row in rows}
    assert {row["sweep"] for row in rows} == {"mine"}


def test_a_launch_that_is_refused_leaves_what_an_earlier_one_of_the_sweep_has_noted(tmp_path: Path) -> None:
    ledger, plan = Ledger(tmp_path), read_sweep(find_sweep("digits"), {"preset": "smoke", "trial": 0, "images": 100})
    ledger.remember_sweep("digits", {"sweep": "digits.yaml", "settings": {}}, plan)
    forget = ledger.remember_sweep("digits", {"settings": {}, "sweep": "digits.yaml"}, plan)
    assert len(ledger.sweeps()["digits"]) == 1
    ledger.remember_sweep("digits", {"sweep": "other/digits.yaml", "settings": {}}, plan)()
    forget()
    (ledger.sweep_folder / "digits-removed.json").symlink_to("nowhere")  # listed, but removed before it is read
    assert [one.run_id for one in ledger.sweeps()["digits"]] == [plan[0].run_id]


def test_logs_of_a_run_that_status_lists_as_missing_say_that_it_was_not_started(repro: Repro, tmp_path: Path) -> None:
    (request,) = read_sweep(find_sweep("digits"), {"preset": "smoke", "trial": 0, "images": 100})
    Ledger(tmp_path / "work" / "runs").remember_sweep("digits", {}, [request])
    assert request.run_id in repro("status").out
    code, out, _ = repro("logs", request.run_id)
    assert code == 0 and "the run has not been started" in out


def test_logs_show_what_a_run_wrote_and_why_it_failed(repro: Repro) -> None:
    repro("launch", *ONE, "optimizer.learning_rate=1e30")
    rows = json.loads(repro("status", "--json").out)
    (failed,) = [row for row in rows if row["state"] == "failed"]
    code, out, err = repro("logs", failed["run_id"][:6])
    assert (code, err) == (0, "")
    assert "starts at step 0 of" in out
    with (Path("runs") / failed["run_id"] / "run.log").open("ab") as log:
        log.write("é".encode()[:1])  # a disk that was full in the middle of a letter
    assert "starts at step 0 of" in repro("logs", failed["run_id"]).out
    assert f"failed: {failed['error']}\nTraceback (most recent call last):\n" in out
    code, _, err = repro("logs", "zz")
    assert (code, err.count("\n")) == (2, 1)
    assert "runs: no run is called 'zz'" in err


def test_there_is_nothing_to_cancel_where_nothing_was_submitted(repro: Repro) -> None:
    code, _, err = repro("cancel", "all")
    assert (code, err) == (2, "repro: runs: nothing was ever submitted from there; see --runs\n")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("command", [["launch", *ONE], ["run", "digits", *ONE[1:]], ["cancel", "all"]])
def test_a_command_that_waits_for_another_launcher_says_so(command: list[str], repro: Repro) -> None:  # noqa: ARG001
    def call(pipe: Connection) -> None:
        class Sent(StringIO):
            def write(self, text: str) -> int:
                pipe.send(text)
                return len(text)

        with redirect_stderr(Sent()):
            main(command)

    with Ledger(Path("runs")).lock(print):
        caller = Process(call)
        while "waiting for another command that launches or cancels runs in runs" not in caller.hear():
            pass
    caller.kill()


def test_debug_mode_calls_the_jobs_in_this_process(repro: Repro) -> None:
    code, _, err = repro("launch", *ONE, "--cluster", "debug")
    assert code == 0
    assert f"{DIGITS}: 2 runs, 0 done, 2 to make" in err
    records = Store(Path("runs")).runs()
    assert [record.state() for record in records] == ["done", "done"]
    assert {(record.path / "lock").read_text().split()[1] for record in records} == {str(os.getpid())}
    assert {row["sweep"] for row in json.loads(repro("status", "--json").out)} == {"digits"}


def test_the_same_command_at_the_same_time_writes_in_turn_what_its_run_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them failed to rename the file that the other had renamed, and `repro status` read half of it."""
    keep, kept = Ledger.remember_sweep, []

    def keep_alone(ledger: Ledger, *arguments: Any) -> Callable[[], None]:
        with (ledger.folder / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kept.append(ledger)
        return keep(ledger, *arguments)

    monkeypatch.setattr(Ledger, "remember_sweep", keep_alone)
    (request,) = read_sweep(find_sweep("digits"), {"preset": "smoke", "trial": 0, "images": 100})
    for _ in range(2):  # neither of which knew that the other would fail as well
        with pytest.raises(BadInput), _remembered(request, [request], runner(tmp_path)):
            (file,) = (tmp_path / ".launch" / "sweeps").iterdir()
            file.unlink()
            raise BadInput("the data are damaged")
    assert len(kept) == 2
