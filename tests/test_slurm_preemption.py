"""A run that loses its place on a real Slurm, by its time limit, to another job or with its node, goes on."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from slurm_place import BOOT_SECONDS, DIGITS, Place, kill, wait_until

from repro.store import RunDirectory
from slurm.devcluster import Cluster

pytestmark = pytest.mark.slurm

NEVER_DONE = (str(DIGITS), "preset=smoke", "trial=0", "images=100", "epochs=1000000", "teachers.epochs=1")


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    place = Place(cluster, tmp_path)
    place.write_profile(runs_per_job=2)
    return place


def test_a_run_survives_its_time_limit_eviction_and_the_loss_of_its_node_and_is_cancelled(place: Place) -> None:
    assert place.launch(NEVER_DONE).code == 0
    wait_until(lambda: training(place), "the student trains")
    (student,) = (run for run in place.records if run.config().kind == "student")
    job = place.submissions()[1]["job_id"]

    # The time limit: Slurm warns the job (USR2), it saves and requeues itself, and goes on in its next life.
    # It looks for such jobs twice a minute, and half a minute ahead: here it finds one the next time it looks.
    *_, minutes, seconds = place.cluster.command("squeue", "--noheader", "--jobs", job, "--format=%M").split(":")
    limit = math.ceil(int(minutes) + int(seconds) / 60 + 0.75)
    place.cluster.command("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")
    wait_until(lambda: restarts(place, job) == 1, "it is requeued")
    place.cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=600")
    wait_until(lambda: len(place.attempts(student)) == 2, "it goes on after its time limit")
    after_limit = went_on(place, student)

    # Preemption.
    place.evict()
    wait_until(lambda: len(place.attempts(student)) == 3, "it goes on after it was evicted")
    assert went_on(place, student) > after_limit
    assert restarts(place, job) == 2

    # The node loses power: nobody saves anything, and Slurm starts the job's first pickle again.
    wait_until(lambda: seconds_of(place, job) > BOOT_SECONDS, "Slurm knows that the node runs the job")
    place.cluster.slurmd.kill()
    for pid in place.cluster.job_processes():
        kill(pid, signal.SIGKILL)
    wait_until(lambda: student.state() == "interrupted", "its writer is dead")
    rows, checkpoint = student.metrics(), student.checkpoint()
    assert checkpoint is not None
    place.cluster.start()
    wait_until(lambda: len(place.attempts(student)) == 4, "it goes on after its node was lost")
    kept = checkpoint["metrics_rows"]
    assert rows[kept - 1]["step"] <= place.attempts(student)[-1]["step"]  # from the newest checkpoint:
    assert kept == len(rows) or place.attempts(student)[-1]["step"] <= rows[kept]["step"]
    wait_until(lambda: len(student.metrics()) > len(rows), "it computes")
    assert student.metrics()[: len(rows)] == rows  # and with the same numbers as before

    (row,) = (row for row in place.status() if row["run_id"] == student.run_id)
    assert row["state"] == "running" and row["epochs"] == 1000000 and row["epoch"] > 0
    done = place.repro("cancel", student.run_id)
    assert done.code == 0 and "cancelled 1 job" in done.out
    assert place.queue() == []  # or a launch, if it comes at once, would take the run for one on its way
    assert student.state() == "interrupted"
    assert student.failure() is None
    wait_until(lambda: "CANCELLED" in str(job_end(place, student)), "accounting says why it ended")
    assert f"CANCELLED by {os.getuid()}" in place.repro("status").out


def job_end(place: Place, run: RunDirectory) -> str | None:
    (row,) = (row for row in place.status() if row["run_id"] == run.run_id)
    end: str | None = row["job_end"]
    return end


def seconds_of(place: Place, job: str) -> int:
    """How long the job has been running in its present life."""
    clock = place.cluster.command("squeue", "--noheader", "--jobs", job, "--format=%M").strip().split(":")
    return sum(int(part) * 60**power for power, part in enumerate(reversed(clock)))


def training(place: Place) -> bool:
    """Whether a student has evaluated at least once."""
    students = [run for run in place.records if run.config().kind == "student"]
    return any(run.metrics() for run in students)


def went_on(place: Place, run: RunDirectory) -> int:
    """The step at which the newest attempt went on, after checking that it has computed something since."""
    attempts: list[dict[str, Any]] = place.attempts(run)
    step: int = attempts[-1]["step"]
    assert step > attempts[-2]["step"]
    wait_until(lambda: run.metrics()[-1]["step"] > step, "it computes")
    rows = [row["step"] for row in run.metrics()]
    assert rows == sorted(set(rows))  # nothing twice
    return step


def restarts(place: Place, job: str) -> int:
    """How often Slurm has started the job again."""
    shown = place.cluster.command("scontrol", "show", "job", job)
    return int(shown.partition("Restarts=")[2].split()[0])
