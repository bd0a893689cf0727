"""Why jobs have left the queue, as Slurm's accounting tells it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pretend_slurm import PretendSlurm

from repro.launch import accounting
from repro.launch.accounting import LOST, End, ends_of, summary
from repro.launch.ledger import Submission


def entry(token: str, *jobs: list[str], job_id: str | None = None) -> Submission:
    return Submission(token, f"repro-x-{token}", f"2026-01-01T00:00:0{token}+0000", "cpu", "code", list(jobs), job_id)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    return PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch)


def test_accounting_says_how_the_last_job_of_each_run_ended(slurm: PretendSlurm) -> None:
    lines = [
        "repro-x-1|8_0|NODE_FAIL",
        "repro-x-1|8_0|OUT_OF_MEMORY",  # its second life
        "repro-x-1|8_[1-2,4%3]|CANCELLED by 1000",  # never started, and so in one line
        "repro-x-1|8_3|TIMEOUT",
        "an|other|9|FAILED",  # somebody else's job, that was given the id of one of ours before or after
        "repro-x-2|9|RUNNING",  # but it is not in the queue
    ]
    slurm.answers("sacct", lines)
    first = entry("1", ["a", "b"], ["c"], ["d"], ["e"], ["f"], job_id="8")
    second, third = entry("2", ["f"], job_id="9"), entry("3", ["g"])
    found = ends_of([first, second, third], ["a", "b", "c", "d", "e", "f", "g"])
    assert found == {
        "a": End("8_0", "OUT_OF_MEMORY"),
        "b": End("8_0", "OUT_OF_MEMORY"),
        "c": End("8_1", "CANCELLED by 1000"),
        "d": End("8_2", "CANCELLED by 1000"),
        "e": End("8_3", "TIMEOUT"),
        "f": End("9", LOST),
    }
    assert "--duplicates --jobs=8,9 " in slurm.read("asked_sacct")
    slurm.answers("sacct", ["repro-x-3|8|PREEMPTED", *lines])  # the scheduler crashed, and gave our id to us again
    assert ends_of([first, replace(third, job_id="8")], ["a", "g"]) == {
        "a": End("8_0", "OUT_OF_MEMORY"),
        "g": End("8", "PREEMPTED"),
    }
    assert summary(found.values()) == (
        "2 jobs CANCELLED by 1000, 1 job OUT_OF_MEMORY, 1 job TIMEOUT, 1 job lost by Slurm"
    )


def test_of_an_array_cancelled_in_parts_every_task_is_known(
    slurm: PretendSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_BITSTR_LEN", raising=False)
    full, cut = "8_[1-5:2,8]", "8_[1-5:2,..."  # if every second task is left; and what sacct makes of a long list
    script = f"""echo "repro-x-1|$([ "$SLURM_BITSTR_LEN" = 0 ] && echo '{full}' || echo '{cut}')|CANCELLED by 1000"\n"""
    slurm.script("sacct", f"#!/bin/bash\n{script}")
    runs = [[name] for name in "abcdefghi"]
    found = ends_of([entry("1", *runs, job_id="8")], "abcdefghi")
    assert {run_id: end.job_id for run_id, end in found.items()} == {"b": "8_1", "d": "8_3", "f": "8_5", "i": "8_8"}


@pytest.mark.parametrize("state", ["RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING"])
def test_a_job_that_has_left_the_queue_but_to_accounting_has_not_ended_is_lost(slurm: PretendSlurm, state: str) -> None:
    slurm.answers("sacct", [f"repro-x-1|8|{state}"])
    assert ends_of([entry("1", ["a"], job_id="8")], ["a"]) == {"a": End("8", "lost by Slurm")}


def test_a_task_cancelled_while_pending_is_not_said_to_be_lost_by_slurm(slurm: PretendSlurm) -> None:
    """Tasks 1 and 2 were pending; somebody cancelled task 2, which accounting does not note."""
    slurm.answers("sacct", ["repro-x-1|8_[1-2%4]|PENDING"])
    assert ends_of([entry("1", ["a"], ["b"], ["c"], job_id="8")], ["c"]) == {
        "c": End("8_2", "cancelled or lost while pending")
    }


def test_accounting_is_asked_only_about_runs_that_were_submitted(slurm: PretendSlurm) -> None:
    assert ends_of([entry("1", ["a"], job_id="8")], ["b"]) == {}
    assert slurm.read("asked_sacct") == ""


def test_thousands_of_jobs_are_asked_about_without_leaving_one_out(
    slurm: PretendSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several calls, because the length of a command line is limited."""
    monkeypatch.setattr(accounting, "IDS_AT_ONCE", 2)
    slurm.answers("sacct", [f"repro-x-{number}|{number}|TIMEOUT" for number in range(5)])
    submissions = [entry(str(number), [f"run {number}"], job_id=str(number)) for number in range(5)]
    runs = {f"run {number}": End(str(number), "TIMEOUT") for number in range(5)}
    assert ends_of(submissions, runs) == runs
    asked = re.findall(r"--jobs=(\S+)", slurm.read("asked_sacct"))
    assert [ids.split(",") for ids in asked] == [["0", "1"], ["2", "3"], ["4"]]
