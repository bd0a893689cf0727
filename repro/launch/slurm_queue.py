"""Find our submissions in Slurm's queue, and cancel them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repro.errors import BadInput
from repro.launch.ledger import Submission
from repro.progress import counted

PATIENCE_SECONDS = 60.0
DEFAULTS = ("SQUEUE_", "SACCT_", "SCANCEL_")
"""Beginnings of the variables with which users change what these commands show or cancel: not what we ask for."""
FORMAT = "%j|%F|%K|%T|%r|%N"  # name, array's job id, task, state, reason, nodes
GIVEN_UP = ("DependencyNeverSatisfied", "JobHoldMaxRequeue", "launch failed requeued held")
"""Reasons for which a job stays pending forever through no fault of its own; a new job in its place may well run."""
NEEDS_A_PERSON = (
    "AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "JobHeldAdmin", "JobHeldUser",
    "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed", "job requeued in held state",
)  # fmt: skip
"""Reasons that a person has to resolve before the job can start: release it, or change the profile."""
BEYOND_A_LIMIT = "PerJob"
"""Part of the reasons for which the job itself asks for too much, such as `QOSMaxWallDurationPerJobLimit`."""
DENIED = re.compile(r"scancel: error: Kill job error on job id (\S+): Access/permission denied")
"""What scancel says of a job of another user, with the id that it was given; it cancels the others all the same."""


@dataclass(frozen=True)
class Task:
    """A job in the queue. `state` is Slurm's (PENDING, RUNNING, ...), and `reason` says why it is pending."""

    name: str
    job_id: str
    array_id: str
    state: str
    reason: str
    node: str
    submitted: str = ""
    """The time of submission, from the ledger."""

    @property
    def given_up(self) -> bool:
        """Whether Slurm will never start it."""
        return self.state == "PENDING" and self.reason.replace("_", " ") in GIVEN_UP

    @property
    def needs_a_person(self) -> bool:
        """Whether it cannot start until a person acts."""
        held = self.state in ("PENDING", "SPECIAL_EXIT")  # the latter after `scontrol requeuehold State=SpecialExit`
        return held and (self.reason.replace("_", " ") in NEEDS_A_PERSON or BEYOND_A_LIMIT in self.reason)


def has_slurm() -> bool:
    """Whether Slurm's commands are installed on this machine."""
    return all(shutil.which(command) for command in ("sbatch", "squeue", "srun", "scancel"))


def queued_runs(submissions: Sequence[Submission]) -> dict[str, Task]:
    """The runs of these submissions that are in the queue: run id -> the job that makes it.

    `submissions` are ordered oldest first: a run that failed in a job, and was submitted again while that job makes
    others, belongs to the later job. Jobs are found by name, because a scheduler that crashed may give a job's id to
    another job. Raises BadInput if Slurm does not answer.
    """
    if not submissions:
        return {}
    names = ",".join(submission.name for submission in submissions)
    by_name = {submission.name: submission for submission in submissions}
    found: dict[str, dict[str, Task]] = {name: {} for name in by_name}
    # --all: without it, an ordinary user's squeue leaves out jobs in hidden partitions, the user's own included.
    for line in call("squeue", "--all", "--noheader", "--array", f"--name={names}", f"--format={FORMAT}").splitlines():
        name, array_id, index, state, reason, node = line.split("|")
        in_array = index.isdecimal()
        job_id = f"{array_id}_{index}" if in_array else array_id
        task = Task(name, job_id, array_id, state, reason, node, by_name[name].time)
        for run_id in by_name[name].jobs[int(index) if in_array else 0]:
            found[name][run_id] = task
    return {run_id: task for tasks in found.values() for run_id, task in tasks.items()}


def cancel(tasks: Iterable[Task], say: Callable[[str], None]) -> set[Task]:
    """Cancel jobs, pending or running, and return them without those of other users, of which `say` is told.

    Raises BadInput if Slurm does not answer.
    """
    wanted, denied = set(tasks), set[str]()
    ids = sorted({task.job_id for task in wanted})
    for start in range(0, len(ids), 500):  # the length of a command line is limited
        done = _run("scancel", *ids[start : start + 500])
        refusals = [DENIED.fullmatch(line) for line in done.stderr.splitlines()]
        denied |= {refusal[1] for refusal in refusals if refusal}
        if not refusals or None in refusals:
            _raise_if_failed(done)
    left = {task for task in wanted if task.job_id in denied}
    if left:
        names = ", ".join(sorted({task.name for task in left}))
        say(f"left in the queue: {counted(len(left), 'job')} of {names} that another user owns and has to cancel")
    return wanted - left


def cancel_by_name(submission: Submission) -> None:
    """Cancel any jobs of a submission that are in the queue. Raises BadInput if Slurm does not answer."""
    call("scancel", f"--name={submission.name}")


def job_state(job_id: str) -> str:
    """Slurm's state of one job, or of one task of an array."""
    return call("squeue", "--all", "--noheader", f"--jobs={job_id}", "--format=%T").strip()


def call(*command: str) -> str:
    """Run a Slurm command and return its standard output. Raises BadInput if it fails or does not answer."""
    done = _run(*command)
    _raise_if_failed(done)
    return done.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(DEFAULTS)}
    environment["SLURM_BITSTR_LEN"] = "0"  # lists of an array's tasks in full, of any length
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=environment
        )
    except FileNotFoundError as error:
        raise BadInput(f"there is no Slurm on this machine: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"Slurm does not answer: no output from {command[0]} for {PATIENCE_SECONDS:.0f} s") from error


def _raise_if_failed(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise BadInput(f"Slurm does not answer: {' '.join(done.stderr.split()) or f'{done.args[0]} failed'}")
