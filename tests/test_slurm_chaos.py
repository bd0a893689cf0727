"""Everything that can die, dies, at random moments; the sweep ends all the same, with the bytes of an undisturbed one.

The moments are drawn in runs finished, not in seconds, so that the whole sweep is disturbed on any machine.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_place import BOOT_SECONDS, PATIENCE, RUNS, Place, finish, kill, look_at_process, wait_until

from repro.store import RunDirectory
from slurm.devcluster import Cluster, ClusterError

pytestmark = [pytest.mark.slurm, pytest.mark.chaos]

ROUNDS = 2
"""How often each kind of disaster strikes."""
RELAUNCHES = 10
"""Enough launches, after the last disaster, for what it left to be done."""


def test_whatever_is_killed_every_run_ends_once_with_the_same_bytes(
    undisturbed: Place, cluster: Cluster, tmp_path: Path
) -> None:
    seed = int(os.environ.get("REPRO_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"REPRO_CHAOS_SEED={seed}")
    place = Place(cluster, tmp_path)
    place.write_profile(runs_per_job=4)
    chaos = Chaos(place, random.Random(seed))
    chaos.rage()
    for _ in range(RELAUNCHES):
        wait_until(chaos.queue_is_empty, "no job is left in the queue")
        if chaos.finished() == RUNS:
            break
        assert place.launch_again().code == 0
    assert place.launch_again().code == 0
    assert place.queue() == [] and cluster.job_processes() == []

    assert {run.run_id for run in place.records} == {run.run_id for run in undisturbed.records}
    for run, calm in zip(place.records, undisturbed.records, strict=True):
        assert run.state() == "done"
        assert (run.path / "run.log").read_text().count(" done  ") <= 1  # 0 if killed before the last line
        for name in ("metrics.jsonl", "model.safetensors", "predictions.safetensors"):
            assert (run.path / name).read_bytes() == (calm.path / name).read_bytes(), (run.run_id, name)
    assert sum(len(place.attempts(run)) for run in place.records) > RUNS  # it did disturb


class Chaos:
    """Disasters for the runs of a place."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self.place = place
        self.cluster = place.cluster
        self.chance = chance

    def rage(self) -> None:
        """Launch the sweep, and let each disaster strike `ROUNDS` times, in any order, while it is being made.

        Runs are done while a disaster is cleared up, so the sweep may end before the last disasters. These strike all
        the same: what is done has to stay done.
        """
        disasters: list[Callable[[], str]] = ROUNDS * [
            self.kill_job,
            self.kill_slurmd,
            self.kill_slurmctld,
            self.kill_launcher,
            self.lose_node,
            self.preempt,
            self.requeue,
        ]
        self.chance.shuffle(disasters)
        moments = sorted(self.chance.choices(range(RUNS - 2), k=len(disasters)))
        for moment, disaster in zip(moments, disasters, strict=True):
            self.wait_for(moment)
            print(f"{time.strftime('%T')} {self.finished():2} runs done; {disaster()}", flush=True)

    def wait_for(self, finished: int) -> None:
        """Wait until so many runs are done and a job runs, or a run is being made; and then a little longer.

        When all runs are done, neither will come again.
        """
        in_training = self.chance.random() < 0.7
        deadline = time.monotonic() + PATIENCE
        while (done := self.finished()) < RUNS:
            if done >= finished and (self.in_training() if in_training else self.running_jobs()):
                break
            assert time.monotonic() < deadline, f"{done} runs are done, {self.place.queue('%A:%T:%r')}"
            if self.queue_is_empty():
                assert self.place.launch_again().code == 0
            time.sleep(0.2)
        time.sleep(self.chance.uniform(0.0, 1.0))

    def queue_is_empty(self) -> bool:
        """Whether no job is left; before that, do what an administrator has to.

        A controller that was killed may give a job an id that a node still runs another job under: Slurm then drains
        the node, and holds the jobs that it could not start there.
        """
        for line in self.cluster.command("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines():
            node, state = line.split()
            if state.startswith("drain"):
                with contextlib.suppress(ClusterError):  # a restarted controller took it back; else we are here again
                    self.cluster.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        for line in self.cluster.command("squeue", "--noheader", "--array", "--format=%A %r").splitlines():
            job, reason = line.split(maxsplit=1)
            if reason.endswith("requeued held"):
                with contextlib.suppress(ClusterError):  # cancelled meanwhile
                    self.cluster.command("scontrol", "release", job)
        return not self.place.queue()

    def finished(self) -> int:
        return sum(run.is_done() for run in self.place.records)

    def in_training(self) -> list[RunDirectory]:
        return [run for run in self.place.records if run.state() == "running"]

    def running_jobs(self) -> list[str]:
        """Ids of the sweep's jobs that run, by which scontrol and /proc know them."""
        running = self.cluster.command("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%A %j")
        return [line.split()[0] for line in running.splitlines() if " repro-" in line]

    # Each disaster says what it has done.

    def kill_job(self) -> str:
        """kill -9 a job's supervisor, its worker or both."""
        jobs = self.running_jobs()
        if not jobs:
            return "no job left to kill"
        job = self.chance.choice(jobs)
        victims = self.chance.choice(["supervisor", "worker", "all"])
        for pid in self.cluster.job_processes():
            command, environment = look_at_process(pid)
            is_worker = "repro.launch.worker" in command
            wanted = victims == "all" or is_worker == (victims == "worker")
            if environment.get("SLURM_JOB_ID") == job and not command.startswith("slurmstepd") and wanted:
                kill(pid, signal.SIGKILL)
        return f"kill -9 job {job}: {victims}"

    def kill_slurmd(self) -> str:
        self.cluster.slurmd.kill()
        time.sleep(self.chance.uniform(0.0, 3.0))
        self.cluster.start()
        return "kill -9 slurmd"

    def kill_slurmctld(self) -> str:
        self.cluster.slurmctld.kill()
        time.sleep(self.chance.uniform(0.0, 3.0))
        self.cluster.start()
        return "kill -9 slurmctld"

    def kill_launcher(self) -> str:
        """kill -9 a launcher somewhere around its submission of what a cancelled job leaves to be done."""
        jobs = self.running_jobs()
        for job in jobs:
            with contextlib.suppress(ClusterError):  # it has ended meanwhile
                self.cluster.command("scancel", job)
        wait_until(lambda: not set(jobs) & set(self.place.queue()), "the cancelled jobs are gone")
        before = len(self.place.submissions())
        launcher = self.place.start_launch_again()
        wait_until(
            lambda: len(self.place.submissions()) > before or launcher.poll() is not None,
            "the launcher submits or ends",
            seconds_between=0.001,
        )
        time.sleep(self.chance.uniform(0.0, 0.2))  # two arrays take it some tenths
        kill(launcher.pid, signal.SIGKILL)
        done = finish(launcher)
        return f"kill -9 launcher: it ended with {done.code} after {len(self.place.submissions()) - before} arrays"

    def lose_node(self) -> str:
        """All that runs on the node is gone at once, and it comes back empty."""
        self.cluster.slurmd.kill()
        for pid in self.cluster.job_processes():
            kill(pid, signal.SIGKILL)
        time.sleep(BOOT_SECONDS)
        self.cluster.start()
        return "the node lost power"

    def preempt(self) -> str:
        return f"preempted by job {self.place.evict()}"

    def requeue(self) -> str:
        jobs = self.running_jobs()
        if not jobs:
            return "no job left to requeue"
        job = self.chance.choice(jobs)
        with contextlib.suppress(ClusterError):  # it has ended meanwhile
            self.cluster.command("scontrol", "requeue", job)
        return f"requeue {job}"
