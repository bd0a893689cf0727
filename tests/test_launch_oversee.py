"""Launching again, following, `cancel` and `logs` beside a pretended Slurm; the real one is in test_slurm_*.py."""

import json
import os
import pty
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pretend_slurm import PretendSlurm

from repro.cli import main
from repro.launch import oversee
from repro.launch.ledger import Ledger
from repro.launch.slurm_queue import Task
from repro.launch.sweep import find_sweep

DIGITS = str(find_sweep("digits"))
ONE = [DIGITS, "preset=smoke", "trial=0", "images=100"]
"""A teacher and its student."""

QUEUE = """#!/bin/bash
n=$(cat {folder}/looks 2>/dev/null || echo 0); echo $((n + 1)) > {folder}/looks
IFS=, read -ra names <<< "$(sed 's/.*--name=//; s/ .*//' <<< "$*")"
if [ "$n" -ge {looks} ]; then exit; fi
echo "${{names[0]}}|100|N/A|{state}|{reason}|"
if [ -n "${{names[1]}}" ]; then echo "${{names[1]}}|101|N/A|PENDING|Dependency|"; fi
"""
PARTING = """#!/bin/bash
cancelled=$(wc -l < {folder}/cancelled 2>/dev/null || echo 0)
if [ "$cancelled" -gt "$(cat {folder}/left 2>/dev/null || echo 0)" ]; then
    echo look >> {folder}/parting
    if [ $(($(wc -l < {folder}/parting) % 3)) = 0 ]; then echo "$cancelled" > {folder}/left; exit; fi
fi
"""
"""What was cancelled is still in the queue at two looks, and is there again when it has left at the third."""
ACCOUNTS = """#!/bin/bash
for name in $(grep -rhoE 'repro-digits-[0-9a-f]{{8}}' {runs}/.launch/submitted {runs}/.launch/ended | sort -u); do
    echo "$name|100|OUT_OF_MEMORY"
done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    for variable, folder in (("REPRO_RUNS", "runs"), ("REPRO_DATA", "data"), ("REPRO_PROFILES", "profiles")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setattr(oversee, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(oversee, "SECONDS_BETWEEN_PARTING_LOOKS", 0.05)
    return PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch)


@pytest.fixture
def queue(slurm: PretendSlurm, tmp_path: Path) -> Callable[..., None]:
    """Has squeue show the first job like this, and a second that waits for it, at the first `looks` looks."""

    def install(state: str, reason: str, looks: int) -> None:
        text = QUEUE.format(folder=slurm.folder, state=state, reason=reason, looks=looks)
        slurm.script("squeue", text)
        slurm.script("sacct", ACCOUNTS.format(runs=tmp_path / "runs"))

    return install


def launch(*options: str) -> int:
    return main(["launch", *ONE, "--cluster", "slurm", "--profile", "cpu", *options])


# -- launch --wait -----------------------------------------------------------------------------------------------------


def test_waiting_follows_the_jobs_until_they_leave_and_says_why_they_did(
    queue: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=3)
    assert launch("--wait") == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["2 runs: 2 missing; 2 in Slurm's queue", "2 runs: 2 missing"]  # a line for each change
    (last,) = [line for line in err.splitlines() if line.startswith("repro: ")]
    assert "2 of 2 runs are not done" in last
    assert last.count(": missing, job 100 OUT_OF_MEMORY") == 2
    assert main(["cancel", "all"]) == 0  # which puts away what has left the queue
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert [row["job_end"] for row in json.loads(capsys.readouterr().out)] == 2 * ["OUT_OF_MEMORY"]


def test_waiting_is_for_the_runs_of_its_own_sweep(slurm: PretendSlurm, tmp_path: Path) -> None:
    assert launch() == 0
    jobs = [f"{one.name}|{one.job_id}|N/A|RUNNING|None|n1" for one in Ledger(tmp_path / "runs").submissions()]
    slurm.answers("squeue", jobs)
    for_ever = f"[ $(wc -l < {slurm.folder}/asked_squeue) -le 50 ] || exit 0\n"
    slurm.script("squeue", slurm.read("squeue").replace("echo '", for_ever + "echo '", 1))
    other = [DIGITS, "preset=smoke", "trial=1", "images=100"]
    assert main(["launch", *other, "--cluster", "slurm", "--profile", "cpu", "--wait"]) == 1
    assert len(slurm.read("asked_squeue").splitlines()) < 50


def test_waiting_ends_also_where_there_is_no_accounting(
    queue: Callable[..., None], slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=3)
    slurm.fails("sacct", "Slurm accounting storage is disabled")
    assert launch("--wait") == 1
    out, err = capsys.readouterr()
    unknown = "why jobs ended is unknown: Slurm does not answer: Slurm accounting storage is disabled"
    assert out.splitlines() == ["2 runs: 2 missing; 2 in Slurm's queue", "2 runs: 2 missing", unknown]
    assert "2 of 2 runs are not done" in err.splitlines()[-1]
    assert main(["status"]) == 0
    assert capsys.readouterr().err == f"repro: {unknown}\n"


def test_waiting_ends_when_nothing_will_start_by_itself(
    queue: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    queue("PENDING", "JobHeldUser", looks=1000)
    assert launch("--wait") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert ": missing, job 100 PENDING (JobHeldUser)" in last and ": missing, job 101 PENDING (Dependency)" in last


def test_waiting_goes_on_while_slurm_does_not_answer(
    slurm: PretendSlurm, queue: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=4)
    down = (
        '#!/bin/bash\nif [ "$(cat {0}/looks 2>/dev/null)" = 2 ]; then echo 3 > {0}/looks; echo down >&2; exit 1; fi\n'
    )
    slurm.script("squeue", down.format(slurm.folder) + slurm.read("squeue").partition("\n")[2])
    assert launch("--wait") == 1
    assert "Slurm does not answer: down" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reasons", "ends"),
    [
        ([], True),
        (None, False),  # Slurm did not answer
        (["running"], False),
        (["Resources"], False),
        (["Dependency"], False),  # on a job of another sweep
        (["JobHeldUser"], True),
        (["DependencyNeverSatisfied"], True),
        (["JobHeldUser", "Dependency"], True),
        (["DependencyNeverSatisfied", "Dependency"], True),
        (["JobHeldUser", "running"], False),
    ],
)
def test_waiting_ends_only_when_nothing_more_can_come(reasons: list[str] | None, ends: bool) -> None:
    queued = (
        None
        if reasons is None
        else {
            reason: Task("n", "8", "8", "RUNNING" if reason == "running" else "PENDING", reason, "")
            for reason in reasons
        }
    )
    assert oversee._Look([], queued, None).comes_to_nothing_more == ends


def test_on_a_terminal_a_table_is_drawn_again_and_again_until_ctrl_c_and_the_jobs_go_on(
    queue: Callable[..., None], slurm: PretendSlurm
) -> None:
    queue("RUNNING", "None", looks=1000)
    code, shown = in_terminal(lambda: launch("--wait"), until="100 RUNNING", times=2)
    assert code == 1
    assert shown.count("\x1b[H\x1b[2J") >= 2
    assert "Ctrl-C ends only the view" in shown
    assert "no longer following; the jobs continue" in shown.splitlines()[-1]
    assert slurm.cancelled == []


# -- launching again ---------------------------------------------------------------------------------------------------


def test_a_job_that_will_never_start_is_cancelled_with_what_waits_for_it_and_both_are_submitted_again(
    slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch() == 0
    teacher, student = sorted(Ledger(tmp_path / "runs").submissions(), key=lambda one: str(one.job_id))
    held = f"{teacher.name}|100|N/A|PENDING|launch failed requeued held|"
    slurm.answers("squeue", [held, f"{student.name}|101|N/A|PENDING|Dependency|"])
    capsys.readouterr()
    assert launch() == 0
    said = capsys.readouterr().err.splitlines()
    assert f"cancelling 1 job of {teacher.name}: cannot start any more (launch failed requeued held)" in said
    assert "cancelling 1 pending job: a parent run must be made again first" in said
    assert said[-2:] == ["submitted 102: 1 run in 1 job", "submitted 103: 1 run in 1 job, after 102"]
    assert slurm.cancelled == ["100", "101"]
    *_, teacher, student = sorted(Ledger(tmp_path / "runs").submissions(), key=lambda one: str(one.job_id))
    slurm.answers("squeue", [f"{one.name}|{one.job_id}|N/A|PENDING|Resources|" for one in (teacher, student)])
    assert launch() == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{DIGITS}: 2 runs, 0 done, 2 queued, 0 to make"


def test_what_slurm_took_before_it_refused_the_rest_is_told(
    slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.accepts(1)
    assert launch() == 1
    _, taken, refused = capsys.readouterr().err.splitlines()
    assert taken == "submitted 100: 1 run in 1 job"
    assert refused.startswith(
        "repro: Slurm refused the jobs: sbatch: error: no more of them; 1 of 2 arrays are submitted"
    )
    assert len(Ledger(tmp_path / "runs").sweeps()["digits"]) == 2


# -- status, cancel, logs ----------------------------------------------------------------------------------------------


def test_runs_are_shown_while_slurm_does_not_answer_and_nothing_is_cancelled(
    slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch() == 0
    slurm.fails("squeue", "down")
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["state"] for row in json.loads(out)] == ["missing", "missing"]
    assert err == "repro: Slurm does not answer: down\n"
    assert main(["cancel", "all"]) == 2
    assert slurm.cancelled == []


def test_ctrl_c_ends_watching_and_is_no_failure(queue: Callable[..., None], tmp_path: Path) -> None:
    queue("PENDING", "Resources", looks=1000)
    assert launch() == 0
    counts = "2 runs: 2 missing; 2 in Slurm's queue"  # below the table, because Ctrl-C discards what is not shown yet
    code, shown = in_terminal(lambda: main(["status", "--watch"]), until=counts, times=2)
    assert code == 0
    assert "100 PENDING (Resources)" in shown
    assert "Traceback" not in shown and "interrupted" not in shown
    assert not any(path.name != ".launch" for path in (tmp_path / "runs").iterdir())  # looking writes nothing


def test_watching_elsewhere_is_a_line_for_each_change(
    queue: Callable[..., None], slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=3)
    assert launch() == 0
    capsys.readouterr()
    interrupt = f'#!/bin/bash\nif [ "$(cat {slurm.folder}/looks)" = 5 ]; then kill -INT $PPID; fi\n'
    slurm.script("squeue", interrupt + slurm.read("squeue").partition("\n")[2])
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out.splitlines() == ["2 runs: 2 missing; 2 in Slurm's queue", "2 runs: 2 missing"]
    assert main(["status", "--watch", "--json"]) == 2


def test_one_run_or_a_sweep_is_cancelled_and_nothing_else_and_has_left_when_that_is_said(
    queue: Callable[..., None], slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=1000)
    slurm.script("squeue", PARTING.format(folder=slurm.folder) + slurm.read("squeue").partition("\n")[2])
    assert launch() == 0
    one, other = (submission.jobs[0][0] for submission in Ledger(tmp_path / "runs").submissions())
    capsys.readouterr()
    assert main(["cancel", one]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("cancelled 1 job with 1 run") and "launching again continues" in second
    assert len(slurm.cancelled) == 1 and slurm.read("left") == "1\n"
    assert main(["cancel", *ONE]) == 0
    assert slurm.cancelled[1] == "100 101"
    assert main(["cancel", DIGITS, "preset=smoke", "trial=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is in the queue"
    assert main(["cancel", "all", "preset=short"]) == main(["cancel", one, "preset=short"]) == 2  # it is not overlooked
    assert capsys.readouterr().err.startswith("repro: preset=short: settings need a sweep file, and 'all' is not one")
    assert main(["cancel", "all"]) == 0
    assert slurm.cancelled[2:] == ["100 101"]
    assert one != other


def test_cancel_says_what_else_it_stops(
    slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The students of another sweep need the same teacher, and other trials share its job."""
    sweeps = [[DIGITS, "preset=smoke", "trial=[0,1]", f"images={images}"] for images in (100, 300)]
    for sweep in sweeps:
        assert main(["launch", *sweep, "--cluster", "slurm", "--profile", "cpu"]) == 0
        ledger = Ledger(tmp_path / "runs")
        jobs = [f"{one.name}|{one.job_id}|N/A|PENDING|Resources|" for one in ledger.submissions()]
        slurm.answers("squeue", jobs)
    gone = f"if [ -e {slurm.folder}/cancelled ]; then rm {slurm.folder}/cancelled; exit; fi\n"
    slurm.script("squeue", slurm.read("squeue").replace("echo '", gone + "echo '", 1))
    for what, others in ((sweeps[0], 2), ([DIGITS, "preset=smoke", "trial=1", "images=[100,300]"], 3), (["all"], 0)):
        capsys.readouterr()
        assert main(["cancel", *what]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "stops" in line]
        assert [line.partition(" of ")[0] for line in said] == ([f"this also stops {others} runs"] if others else [])


def test_what_is_the_beginning_of_no_run_id_or_of_several_cancels_none(
    queue: Callable[..., None], slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=20)
    assert launch() == 0
    capsys.readouterr()
    assert main(["cancel", ""]) == 2
    assert ": 2 run ids begin with '', give more of it: " in capsys.readouterr().err
    end = Ledger(tmp_path / "runs").submissions()[0].jobs[0][0][1:]
    assert main(["cancel", end]) == 2
    assert f"no run is called '{end}'" in capsys.readouterr().err
    assert slurm.cancelled == []


def test_that_slurm_cancelled_nothing_is_an_error(
    queue: Callable[..., None], slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    queue("RUNNING", "None", looks=20)
    assert launch() == 0
    denied = (f"scancel: error: Kill job error on job id {job}: Access/permission denied" for job in (100, 101))
    slurm.fails("scancel", "\n".join(denied))
    assert main(["cancel", "all"]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "repro: no job has been cancelled" and "cancelled" not in out


def test_a_run_that_its_device_cannot_make_is_refused_before_anything_is_submitted(
    slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch("precision=tfloat32") == 2
    assert "tfloat32" in capsys.readouterr().err
    assert slurm.submitted == 0
    assert Ledger(tmp_path / "runs").submissions() == [] and Ledger(tmp_path / "runs").sweeps() == {}


def test_logs_of_a_run_end_with_those_of_its_jobs(
    slurm: PretendSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch() == 0
    submission = Ledger(tmp_path / "runs").submissions()[0]
    folder = Ledger(tmp_path / "runs").job_folder(submission.token)
    (folder / f"{submission.job_id}_0_log.err").write_text("module: command not found\n")
    capsys.readouterr()
    assert main(["logs", submission.jobs[0][0][:8]]) == 0
    out = capsys.readouterr().out
    assert "the run has not been started" in out
    assert out.endswith("_0_log.err\nmodule: command not found\n")
    assert slurm.submitted == 2


def in_terminal(command: Callable[[], int], until: str, times: int) -> tuple[int, str]:
    """Run a command in a terminal of its own, press Ctrl-C once it has shown `until` so often; exit code, all shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            code = command()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as error:
            os.write(2, repr(error).encode())
            code = 99
        os._exit(code)
    shown, pressed = "", False
    try:
        while part := os.read(terminal, 65536):
            shown += part.decode()
            if not pressed and shown.count(until) >= times:
                pressed = True
                os.write(terminal, b"\x03")
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
