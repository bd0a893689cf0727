"""What Slurm's queue holds of our submissions, and taking it out again."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repro.errors import BadInput
from repro.launch.ledger import Ledger, Submission

PATIENCE_SECONDS = 60.0
FORMAT = "%j|%F|%K|%T|%r|%N"  # name, array's job id, task, state, reason, nodes


@dataclass(frozen=True)
class Task:
    """A job in the queue. `state` as Slurm says it (PENDING, RUNNING, ...), `reason` why it is pending."""

    name: str
    job_id: str
    array_id: str
    state: str
    reason: str
    node: str
    submitted: str = ""
    """When, as the ledger says."""


def has_slurm() -> bool:
    """Whether this machine can submit to a Slurm."""
    return all(shutil.which(command) for command in ("sbatch", "squeue", "srun", "scancel"))


def queued_runs(submissions: Sequence[Submission]) -> dict[str, Task]:
    """The runs of these submissions that are in the queue, by run id.

    They are found by the names of their jobs: a scheduler that crashed can give a job's id to another job.
    Raises BadInput if Slurm does not answer.
    """
    if not submissions:
        return {}
    names = ",".join(submission.name for submission in submissions)
    by_name = {submission.name: submission for submission in submissions}
    found: dict[str, Task] = {}
    for line in _call("squeue", "--noheader", "--array", f"--name={names}", f"--format={FORMAT}").splitlines():
        name, array_id, index, state, reason, node = line.split("|")
        in_array = index.isdecimal()
        job_id = f"{array_id}_{index}" if in_array else array_id
        task = Task(name, job_id, array_id, state, reason, node, by_name[name].time)
        for run_id in by_name[name].jobs[int(index) if in_array else 0]:
            found[run_id] = task
    return found


def cancel(tasks: Iterable[Task]) -> None:
    """Take jobs out of the queue, and end those that run. Raises BadInput if Slurm does not answer."""
    ids = sorted({task.job_id for task in tasks})
    for start in range(0, len(ids), 500):  # a command line has its limits
        _call("scancel", *ids[start : start + 500])


def cancel_by_name(submission: Submission) -> None:
    """Take what there may be of a submission out of the queue. If Slurm does not answer, that is left as it is."""
    with contextlib.suppress(BadInput):
        _call("scancel", f"--name={submission.name}")


def job_state(job_id: str) -> str:
    """The state of one job, or of one task of an array, as Slurm says it."""
    return _call("squeue", "--noheader", f"--jobs={job_id}", "--format=%T").strip()


def reconcile(ledger: Ledger, say: Callable[[str], None]) -> dict[str, Task]:
    """The runs that are in the queue. Puts away submissions of which nothing is; only under the ledger's lock.

    A submission in the queue without a job id is one whose launcher was killed half way: its jobs may lack what they
    need to start, so they are cancelled.
    """
    submissions = ledger.open_submissions()
    queued = queued_runs(submissions)
    for submission in submissions:
        run_ids = [run_id for job in submission.jobs for run_id in job]
        tasks = {queued[run_id] for run_id in run_ids if run_id in queued and queued[run_id].name == submission.name}
        if tasks and submission.job_id is None:
            say(f"cancels {submission.name}: its launcher was killed while it submitted")
            cancel(tasks)
            queued = {run_id: task for run_id, task in queued.items() if task not in tasks}
        elif tasks:
            continue
        left = sum(ledger.store.run(run_id).state() in ("missing", "interrupted") for run_id in run_ids)
        if left and submission.job_id is not None:
            of = f"{left} of {len(run_ids)} runs"
            say(f"{submission.name} has left the queue with {of} unfinished; see `repro logs RUN`")
        ledger.end(submission)
    return queued


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    except FileNotFoundError as error:
        raise BadInput(f"there is no Slurm on this machine: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"Slurm does not answer: {command[0]} says nothing for {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise BadInput(f"Slurm does not answer: {done.stderr.strip() or f'{command[0]} failed'}")
    return done.stdout
