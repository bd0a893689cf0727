"""Why jobs are no longer in Slurm's queue, according to its accounting (`sacct`)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from repro.launch.ledger import Submission
from repro.launch.slurm_queue import call
from repro.progress import counted

NEVER_ENDED = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "RESIZING", "COMPLETING")
LOST = "lost by Slurm"
NEVER_STARTED = "cancelled or lost while pending"
"""Accounting does not note that one task of an array was cancelled before it started: it stays `PENDING` there."""
IDS_AT_ONCE = 500
"""Job ids per call of sacct: the length of a command line is limited."""


@dataclass(frozen=True)
class End:
    """How a job ended. `how` is Slurm's state (TIMEOUT, CANCELLED by 1000, ...), LOST or NEVER_STARTED."""

    job_id: str
    how: str


def ends_of(submissions: Sequence[Submission], run_ids: Iterable[str]) -> dict[str, End]:
    """For each run, by run id, how the last job that was to make it ended; only jobs that have left the queue count.

    `submissions` are ordered oldest first. Jobs that accounting does not know are left out. Raises BadInput if
    accounting does not answer.
    """
    wanted = set(run_ids)
    places: dict[str, tuple[Submission, int]] = {}
    for submission in submissions:
        for index, job in enumerate(submission.jobs):
            places |= {run_id: (submission, index) for run_id in job if run_id in wanted}
    ends = ends_of_tasks([submission for submission, _ in places.values()])
    found = {}
    for run_id, (submission, index) in places.items():
        end = ends.get((submission.name, index))
        if end is not None:
            found[run_id] = end
    return found


def summary(ends: Iterable[End]) -> str:
    """Counts by state, such as `2 jobs OUT_OF_MEMORY, 1 job TIMEOUT`."""
    counts = Counter(end.how for end in set(ends))
    return ", ".join(f"{counted(counts[how], 'job')} {how}" for how in sorted(counts))


def ends_of_tasks(submissions: Sequence[Submission]) -> dict[tuple[str, int], End]:
    """How jobs ended, by (job name, task index). Raises BadInput if accounting does not answer.

    A job whose name is not that of a submission has been given the id of one of ours, before or after.
    """
    found: dict[tuple[str, int], End] = {}
    ids = sorted({submission.job_id for submission in submissions if submission.job_id is not None})
    for start in range(0, len(ids), IDS_AT_ONCE):
        jobs = ",".join(ids[start : start + IDS_AT_ONCE])
        # By id, because sacct does not find a job by name if it was cancelled while held; --duplicates, because ids are
        # reused.
        answer = call(
            "sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={jobs}",
            "--format=JobName,JobID,State",
        )  # fmt: skip
        for line in answer.splitlines():
            name, job_id, state = line.rsplit("|", 2)  # another's name may be anything
            how = NEVER_STARTED if state == "PENDING" else LOST if state in NEVER_ENDED else state
            found |= {(name, index): End(each, how) for index, each in _tasks(job_id)}
    return found


def _tasks(job_id: str) -> Iterator[tuple[int, str]]:
    """Index and id of every task in one JobID of sacct.

    `7`, `7_2`, or, for tasks that never started, `7_[2-5,9%2]`; `7_[0-8:2]` if every second one of them is left.
    """
    array, _, index = job_id.partition("_")
    if not index:
        yield 0, array
        return
    for part in re.sub(r"\[|%\d+|\]", "", index).split(","):
        numbers, _, step = part.partition(":")
        first, _, last = numbers.partition("-")
        for number in range(int(first), int(last or first) + 1, int(step or 1)):
            yield number, f"{array}_{number}"
