"""`repro launch --dry-run` for Slurm: what the queue holds already, what would be submitted, and that nothing is."""

from dataclasses import replace
from pathlib import Path

import pytest
from commands import Repro, calling
from pretend_slurm import PretendSlurm

from repro.launch.ledger import Ledger, Submission
from repro.launch.sweep import find_sweep
from repro.store import Store

ONE = [str(find_sweep("digits")), "preset=smoke", "trial=0", "images=100"]
"""A teacher and its student."""
SLURM = ["--cluster", "slurm", "--profile", "cpu"]


@pytest.fixture
def repro(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repro:
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return calling(capsys)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    return PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch)


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def submissions(folder: Path) -> list[Submission]:
    """The teacher's, then the student's."""
    return sorted(Ledger(folder / "runs").submissions(), key=lambda submission: str(submission.job_id))


def test_what_is_queued_is_not_submitted_and_its_children_wait_for_its_job(
    repro: Repro, slurm: PretendSlurm, tmp_path: Path
) -> None:
    assert repro("launch", *ONE, *SLURM).code == 0
    teacher, student = submissions(tmp_path)
    slurm.answers("squeue", [f"{teacher.name}|100|N/A|RUNNING|None|n1"])  # the other was cancelled by hand
    shown = repro("launch", *ONE, *SLURM, "--dry-run").out
    assert [row for row in rows(shown) if row[:1] in (["runs"], ["teacher"], ["student"])] == [
        ["runs", "queued", "to", "make", "all"],
        ["teacher", "1", "1"],
        ["student", "1", "1"],
    ]
    assert "\nto make: 1 distinct run (1 student), " in shown
    assert ["1", "1", "1", "64", "100"] in rows(shown)
    slurm.answers("squeue", [f"{one.name}|{one.job_id}|N/A|RUNNING|None|n1" for one in (teacher, student)])
    assert repro("launch", *ONE, *SLURM, "--dry-run").out.endswith("\n\nnothing to submit\n")
    assert slurm.submitted == 2 and slurm.cancelled == []


def test_what_slurm_will_never_start_counts_as_to_be_made_and_is_left_to_the_launch_to_cancel(
    repro: Repro, slurm: PretendSlurm, tmp_path: Path
) -> None:
    assert repro("launch", *ONE, *SLURM).code == 0
    teacher, student = submissions(tmp_path)
    given_up = f"{teacher.name}|100|N/A|PENDING|launch failed requeued held|"
    waiting = f"{student.name}|101|N/A|PENDING|Dependency|"
    slurm.answers("squeue", [given_up, waiting])
    both = repro("launch", *ONE, *SLURM, "--dry-run").out
    assert ["0", "1", "1", "64"] in rows(both) and ["1", "1", "1", "64", "level", "0"] in rows(both)
    fine = f"{teacher.name}|100|N/A|PENDING|Resources|"
    slurm.answers("squeue", [fine, waiting])
    assert repro("launch", *ONE, *SLURM, "--dry-run").out.endswith("nothing to submit\n")
    for submission in (teacher, student):  # of a launcher that was killed before sbatch answered
        Ledger(tmp_path / "runs").write(replace(submission, job_id=None))
    assert repro("launch", *ONE, *SLURM, "--dry-run").out == both
    assert slurm.submitted == 2 and slurm.cancelled == []


def test_what_failed_is_named_with_its_reason_and_what_makes_it_again(
    repro: Repro, slurm: PretendSlurm, tmp_path: Path
) -> None:
    assert repro("launch", *ONE, *SLURM).code == 0
    teacher, _ = submissions(tmp_path)
    run = Store(tmp_path / "runs").run(teacher.jobs[0][0])
    run.path.mkdir()
    run.write_failure("the loss became nan")
    shown = repro("launch", *ONE, *SLURM, "--dry-run").out
    label = "teacher of digits trial=0 images=100 (smoke)"
    assert f"\nfailed: {run.run_id} ({label}): the loss became nan\nto make them again, add --retry failed\n" in shown
    assert "\nto make: nothing\n" in shown and shown.endswith("\n\nnothing to submit\n")
    again = repro("launch", *ONE, *SLURM, "--dry-run", "--retry", "failed").out
    assert "failed" not in again and ["1", "1", "1", "64", "level", "0"] in rows(again)
    assert slurm.submitted == 2


def test_the_packing_is_said_in_words_and_the_options_as_sbatch_gets_them(
    repro: Repro, slurm: PretendSlurm, tmp_path: Path
) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text(
        "gpus: 4\ngpu_type: a100\ncpus: 16\nruns_per_job: 6\nruns_at_once: 2\nprocesses_per_run: 2\n"
        "sbatch: {exclusive: true, exclude: 'node[3-4]'}\n"
    )
    shown = repro("launch", *ONE, "--cluster", "slurm", "--profile", str(profile), "--dry-run").out.splitlines()
    assert shown[-2] == "up to 6 runs a job, 2 at once, on cuda, 2 processes a run, 4 threads each"
    assert shown[-1] == (
        "sbatch --job-name=repro-digits-TOKEN --time=1440 --gpus-per-node=a100:4 --cpus-per-task=16 --mem=8G "
        "--signal=USR2@90 --requeue --kill-on-invalid-dep=yes --exclusive --exclude='node[3-4]'"
    )
    assert any(line.startswith("no estimate of run-hours on a GPU: ") for line in shown)
    assert not (tmp_path / "runs").exists() and slurm.submitted == 0
