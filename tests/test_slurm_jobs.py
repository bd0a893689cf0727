"""What jobs do with their runs on a real Slurm: side by side, on scratch, after a parent made elsewhere, made anew."""

import os
import signal

import pytest
from prepared_arrays import arrays_for, write
from slurm_place import DIGITS, Place, finish, process_of, wait_until

from repro.data.prepared import MNIST
from repro.store import Store

pytestmark = pytest.mark.slurm

ONE = (str(DIGITS), "preset=smoke", "trial=0", "images=100", "epochs=2", "teachers.epochs=2")
"""A teacher and its student."""


def test_a_packed_job_makes_runs_side_by_side_on_the_nodes_own_disk_and_the_launcher_waits(place: Place) -> None:
    """Prepared data are read from a copy on scratch; `--wait` follows until all is done."""
    (place.folder / "data").mkdir()
    prepared = write(place.folder / "data", MNIST, arrays_for(MNIST, train=120, test=20))
    place.write_profile(runs_per_job=3, runs_at_once=2, cpus=2, scratch=f"{place.folder}/disk of $SLURM_JOB_PARTITION")
    names = ("data.train.dataset.name=mnist", "teachers.data.train.dataset.name=mnist")
    done = place.launch((*ONE, *names, "seed=[1,2,3]"), "--wait")
    assert done.code == 0, done
    looks = done.out.splitlines()
    assert looks[0].endswith("4 in Slurm's queue") and looks[-1] == "4 runs: 4 done"

    students = [run for run in place.records if run.config().kind == "student"]
    assert len({process_of(run) for run in students}) == 2  # the third was made by one of these two
    (copy,) = (place.folder / "disk of low").glob(f"repro-data-{os.getuid()}/*")
    assert (copy / prepared.name).read_bytes() == prepared.read_bytes()
    for run in place.records:
        argv = place.attempts(run)[0]["argv"]
        assert argv[argv.index("--data") + 1] == str(copy)


def test_a_queued_child_waits_for_a_parent_that_is_made_elsewhere(place: Place) -> None:
    some_seconds = (*ONE[:-1], "teachers.epochs=100")
    here = place.start("launch", *some_seconds)
    wait_until(lambda: any(run.holder() for run in place.records), "the teacher is trained here")
    os.killpg(here.pid, signal.SIGSTOP)  # so that it takes as long as the test needs
    try:
        launched = place.launch(some_seconds)
        assert launched.code == 0
        assert any("2 runs, 0 done, 1 running, 1 to make" in line for line in launched.lines)
        wait_until(lambda: place.queue("%T") == ["RUNNING"], "the student's job runs")
        assert [run.config().kind for run in place.records] == ["teacher"]
    finally:
        os.killpg(here.pid, signal.SIGCONT)
    assert finish(here).code == 0
    place.wait_for_empty_queue()
    assert [run.state() for run in place.records] == ["done", "done"]
    assert [len(place.attempts(run)) for run in place.records] == [1, 1]


def test_a_job_that_slurm_holds_for_ever_is_named_and_submitted_again_with_its_children(place: Place) -> None:
    """Runs that several processes train together are launched as others are."""
    last = int(place.cluster.command("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"))
    place.cluster.command("scancel", str(last))
    obstacle = place.cluster.state / "slurmd" / f"job{last + 1:05}"
    obstacle.touch()  # where slurmd wants to make the job's folder: the launch fails, and Slurm holds the job
    shared = (*ONE, "micro_batch_size=16", "teachers.micro_batch_size=16")
    assert place.launch(shared).code == 0
    held = "PENDING (launch failed requeued held)"
    wait_until(lambda: held in place.repro("status").out, "it is held")
    obstacle.unlink()
    # This time each run is made by two processes, on a GPU of a type; `torchrun` is what they are started by.
    place.write_profile(gpus=2, gpu_type="fake", cpus=2, processes_per_run=2)
    again = place.launch(shared)
    assert again.code == 0
    assert any("cannot start any more (launch failed requeued held)" in line for line in again.lines)
    assert any("cancelling 1 pending job: a parent run must be made again first" in line for line in again.lines)
    assert any("2 runs, 0 done, 2 to make" in line for line in again.lines)
    place.wait_for_empty_queue()
    store = Store(place.folder / "runs")
    runs = [run_id for note in place.submissions() for job in note["jobs"] for run_id in job]
    assert len(runs) == 4 and len(set(runs)) == 2
    for run in map(store.run, set(runs)):
        assert run.is_done(), place.status()
        assert [attempt["machine"]["process_count"] for attempt in place.attempts(run)] == [2]
