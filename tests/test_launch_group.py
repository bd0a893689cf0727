"""Several users of one folder of runs: whose jobs they are, beside a pretended Slurm."""

from pathlib import Path

import pytest
from pretend_slurm import PretendSlurm

from repro.cli import main
from repro.errors import BadInput
from repro.launch import oversee
from repro.launch.ledger import Ledger, Submission
from repro.launch.reconcile import reconcile
from repro.launch.slurm_queue import Task, cancel


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    monkeypatch.setattr(oversee, "SECONDS_BETWEEN_PARTING_LOOKS", 0.05)
    return PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """With a submission of another user, job 1, and one's own, job 2, of a run each."""
    ledger = Ledger(tmp_path / "runs")
    with ledger.lock(print):
        for job in "12":
            time = f"2026-01-01T00:00:0{job}+0000"
            ledger.write(Submission(job, f"repro-x-{job}", time, "cpu", "code", [[f"run{job}"]], job))
    return ledger


LEFT = "left in the queue: 1 job of repro-x-1 that another user owns and has to cancel"


def test_all_jobs_but_those_of_other_users_are_cancelled(slurm: PretendSlurm) -> None:
    own, *others = tasks = [Task(f"repro-x-{n}", f"{n}_0", n, "PENDING", "Priority", "") for n in ("7", "8", "9")]
    slurm.denies("[89]_*")
    said: list[str] = []
    assert cancel(tasks, said.append) == {own}
    assert cancel(others, said.append) == set()
    assert said == 2 * ["left in the queue: 2 jobs of repro-x-8, repro-x-9 that another user owns and has to cancel"]


def test_a_slurm_that_does_not_answer_is_not_taken_for_other_users_jobs(slurm: PretendSlurm) -> None:
    task = Task("repro-x-1", "1_0", "1", "PENDING", "Priority", "")
    slurm.denies("1_*")
    denied = slurm.read("scancel")
    silent = denied.replace("exit", "echo scancel: error: Unable to contact >&2; exit")
    for script in (silent, "#!/bin/bash\nexit 1\n"):
        slurm.script("scancel", script)
        with pytest.raises(BadInput, match="Slurm does not answer: scancel"):
            cancel([task], print)


def test_what_slurm_will_never_start_stays_queued_if_it_is_another_users(slurm: PretendSlurm, ledger: Ledger) -> None:
    slurm.answers("squeue", [f"repro-x-{job}|{job}|0|PENDING|DependencyNeverSatisfied|" for job in "12"])
    slurm.denies("1_*")
    said: list[str] = []
    with ledger.lock(print):
        assert set(reconcile(ledger, said.append)) == {"run1"}
    assert said[1] == LEFT
    assert [submission.job_id for submission in ledger.open_submissions()] == ["1"]


def test_cancel_waits_for_ones_own_jobs_and_tells_those_of_others(
    slurm: PretendSlurm, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [f"echo 'repro-x-{job}|{job}|0|RUNNING|None|n1'" for job in "12"]
    slurm.script("squeue", f"#!/bin/bash\n{shown[0]}\n[ -e {slurm.folder}/cancelled ] || {shown[1]}\n")
    slurm.denies("1_*")
    command = ["cancel", "all", "--runs", str(ledger.store.root)]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out.startswith("cancelled 1 job with 1 run; waiting") and err == f"{LEFT}\n"
    assert main(command) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [LEFT, "repro: no job has been cancelled"]
