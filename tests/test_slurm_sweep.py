"""A sweep on a real Slurm: launched by two at once, completed, launched again; what fails, is lost or is refused."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from slurm_place import DIGITS, RUNS, Done, Place, finish, process_of, wait_until

from repro.store import Store

pytestmark = pytest.mark.slurm

ONE = (str(DIGITS), "preset=smoke", "trial=0", "images=100")
"""A teacher and its student."""


def test_two_launchers_at_once_submit_every_run_once_and_all_are_made_once(
    undisturbed: Place, both_launchers: list[Done]
) -> None:
    assert [done.code for done in both_launchers] == [0, 0], both_launchers
    submitted = [run_id for note in undisturbed.submissions() for job in note["jobs"] for run_id in job]
    assert len(submitted) == len(set(submitted)) == RUNS
    assert {run.run_id for run in undisturbed.records} == set(submitted)
    for run in undisturbed.records:
        assert run.is_done()
        assert [attempt["step"] for attempt in undisturbed.attempts(run)] == [0]


def test_students_start_after_their_teachers_in_an_array_of_their_own(undisturbed: Place) -> None:
    teachers, students = undisturbed.submissions()
    assert {undisturbed.kind(run_id) for job in teachers["jobs"] for run_id in job} == {"teacher"}
    assert {undisturbed.kind(run_id) for job in students["jobs"] for run_id in job} == {"student"}
    assert [len(note["jobs"]) for note in (teachers, students)] == [2, 3]
    ends = ("sacct", "--noheader", "--parsable2", "--allocations", "--format=State,ExitCode", "--jobs")
    wait_until(  # accounting lags behind by seconds
        lambda: undisturbed.cluster.command(*ends, students["job_id"]).split() == ["COMPLETED|0:0"] * 3,
        "accounting knows that the students' jobs are completed",
    )


def test_runs_of_a_job_are_made_one_after_another_by_one_process(undisturbed: Place) -> None:
    store = Store(undisturbed.folder / "runs")
    for note in undisturbed.submissions():
        for job in note["jobs"]:
            assert len({process_of(store.run(run_id)) for run_id in job}) == 1
            attempts = [undisturbed.attempts(store.run(run_id))[0] for run_id in job]
            assert [attempt["started"] for attempt in attempts] == sorted(attempt["started"] for attempt in attempts)


def test_a_second_launch_submits_nothing(undisturbed: Place) -> None:
    before = undisturbed.submissions()
    done = undisturbed.launch()
    assert done.code == 0
    assert f"{RUNS} runs, {RUNS} done, 0 to make" in done.out + "\n".join(done.lines)
    assert undisturbed.submissions() == before
    assert undisturbed.queue() == []


def test_a_child_of_a_failed_parent_ends_with_that_reason(place: Place) -> None:
    diverging = (*ONE, "teachers.optimizer.learning_rate=1e30")
    assert place.launch(diverging).code == 0
    place.wait_for_empty_queue()
    rows = {place.kind(row["run_id"]): row for row in place.status()}
    teacher, student = rows["teacher"], rows["student"]
    assert (teacher["state"], student["state"]) == ("failed", "failed")
    assert "loss" in teacher["error"]
    assert student["error"] == f"its teacher {teacher['run_id']} failed: {teacher['error']}"
    again = place.launch(diverging)
    assert again.code == 1 and teacher["run_id"] in again.lines[-1]
    assert len(place.submissions()) == 2 and place.queue() == []


def test_jobs_that_the_controller_forgot_are_submitted_again(place: Place, tmp_path: Path) -> None:
    cluster = place.cluster
    memory = cluster.state / "slurmctld"
    cluster.slurmctld.stop()  # it writes its state when it ends
    cluster.slurmctld.start()
    shutil.copytree(memory, tmp_path / "memory")
    assert place.launch(ONE).code == 0
    lost = place.submissions()[0]["job_id"]
    cluster.slurmctld.kill()
    shutil.rmtree(memory)
    shutil.copytree(tmp_path / "memory", memory)
    cluster.slurmctld.start()
    other = cluster.command("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true").strip()
    assert other == lost  # the id is given to another job
    again = place.launch(ONE)
    assert again.code == 0, again
    cluster.command("scancel", other)
    place.wait_for_empty_queue()
    assert [run.state() for run in place.records] == ["done", "done"]
    first, second, third, fourth = (note["jobs"] for note in place.submissions())
    assert first == third and second == fourth


def test_a_launch_is_refused_in_one_line_while_nobody_answers(place: Place) -> None:
    assert place.launch(ONE).code == 0  # something has to be looked up
    place.cluster.slurmctld.stop()
    refused = place.launch(ONE)
    place.cluster.slurmctld.start()
    assert refused.code == 2
    assert len(refused.lines) == 1 and refused.lines[0].startswith("repro: Slurm does not answer: ")
    assert len(place.submissions()) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partition": "huge"}, "Slurm refused the jobs: "),
        ({"cpus": 4000}, "Slurm refused the jobs: "),
        ({"partitoin": "low"}, "did you mean 'partition'?"),
        ({"time": "1 hour"}, "test.yaml:7: key 'time': '1 hour' is not a time limit"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_in_one_line(place: Place, changes: dict[str, Any], said: str) -> None:
    place.write_profile(**changes)
    refused = place.launch(ONE)
    assert refused.code == 2
    (line,) = [line for line in refused.lines if line.startswith("repro: ")]
    assert said in line
    assert place.queue() == []
    assert place.records == []


def test_a_launcher_killed_in_the_middle_leaves_nothing_that_the_next_does_not_put_right(place: Place) -> None:
    killed = place.start_launch(ONE)
    wait_until(place.submissions, "it has noted what it is about to submit", seconds_between=0.001)
    os.killpg(killed.pid, signal.SIGKILL)
    assert finish(killed).code == -signal.SIGKILL
    assert place.launch(ONE).code == 0
    place.wait_for_empty_queue()
    if [run.state() for run in place.records] != ["done", "done"]:  # its first array was submitted without its pickles
        assert place.launch(ONE).code == 0
        place.wait_for_empty_queue()
    assert [run.state() for run in place.records] == ["done", "done"]
    assert [len(place.attempts(run)) for run in place.records] == [1, 1]
