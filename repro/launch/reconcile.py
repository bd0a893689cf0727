"""Reconcile the ledger with Slurm's queue: what is still on its way, what was lost, and what will never start."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from repro.errors import BadInput
from repro.launch.accounting import ends_of_tasks, summary
from repro.launch.ledger import Ledger, Submission
from repro.launch.slurm_queue import Task, cancel, queued_runs
from repro.launch.standing import Standing
from repro.progress import counted

Say = Callable[[str], None]


def reconcile(ledger: Ledger, say: Say) -> dict[str, Task]:
    """Return the runs that are in the queue, and archive submissions that have none. Call only under the ledger's lock.

    An archived submission that has jobs in the queue again is opened again.

    Useless jobs are cancelled, so that their runs are submitted again: jobs of a launcher that was killed while it
    submitted (a submission without a job id), which may lack what they need to start, and jobs that Slurm will never
    start. Those of other users stay in the queue. `say` is told which jobs need a person or are just ending, and which
    runs left the queue unfinished and why.
    """
    opened = {submission.token for submission in ledger.open_submissions()}
    submissions = ledger.submissions_to_look_for()
    queued = queued_runs(submissions)
    over = []
    for submission in submissions:
        tasks = {task for task in queued.values() if task.name == submission.name}
        if submission.token not in opened:
            if not tasks:
                continue
            ledger.write(submission)
        useless = tasks if submission.job_id is None else {task for task in tasks if task.given_up}
        if useless:
            killed = "the launcher was killed while submitting"
            why = killed if submission.job_id is None else f"cannot start any more ({_reasons(useless)})"
            say(f"cancelling {counted(len(useless), 'job')} of {submission.name}: {why}")
            useless = cancel(useless, say)
            queued = {run_id: task for run_id, task in queued.items() if task not in useless}
        waiting = {task for task in tasks - useless if task.needs_a_person}
        if waiting:
            say(
                f"{counted(len(waiting), 'job')} of {submission.name} will not start without help "
                f"({_reasons(waiting)}): `scontrol release` if held, else `repro cancel` and launch again"
            )
        ending = {task for run_id, task in queued.items() if _ends_undone(ledger, run_id, task) and task in tasks}
        if ending:
            say(
                f"just ending (COMPLETING) with runs that are not done: {counted(len(ending), 'job')} of "
                f"{submission.name}; if Slurm does not put them back into the queue, launch again"
            )
        if not tasks - useless:
            over.append(submission)
    _say_what_is_left(ledger, over, say)
    for submission in over:
        ledger.end(submission)
    return queued


def orphans(standings: Sequence[Standing], queued: Mapping[str, Task]) -> set[Task]:
    """The pending jobs with a run whose parent has to be made again; they depend on the parent's old job."""
    to_make = {standing.request.run_id for standing in standings if standing.stand == "to make"}
    waiting = {
        queued[standing.request.run_id]
        for standing in standings
        if standing.stand == "queued" and to_make.intersection(standing.request.parent_ids)
    }
    return {task for task in waiting if task.state == "PENDING"}


def take_back(standings: Sequence[Standing], queued: Mapping[str, Task], say: Say) -> set[Task]:
    """Cancel the orphans, and return those that have been; those of other users stay in the queue."""
    found = orphans(standings, queued)
    if found:
        planned = {standing.request.run_id for standing in standings}
        others = sum(task in found and run_id not in planned for run_id, task in queued.items())
        unasked = f"; this also cancels {counted(others, 'run')} outside this sweep: launch those again too"
        say(
            f"cancelling {counted(len(found), 'pending job')}: a parent run must be made again first"
            + (unasked if others else "")
        )
    return cancel(found, say)


def _ends_undone(ledger: Ledger, run_id: str, task: Task) -> bool:
    """Whether a job is ending before the run is done: cancelled, or evicted and to be requeued (Slurm does not say)."""
    return task.state == "COMPLETING" and not ledger.store.run(run_id).is_done()


def _say_what_is_left(ledger: Ledger, over: Sequence[Submission], say: Say) -> None:
    """Say which submissions leave runs unfinished, and why. Accounting is asked once for all, as it may be slow."""
    left = []
    for submission in over:
        runs = [ledger.store.run(run_id) for job in submission.jobs for run_id in job]
        unfinished = {run.run_id for run in runs if run.state() in ("missing", "interrupted")}
        if unfinished and submission.job_id is not None:
            left.append((submission, len(runs), unfinished))
    try:
        ends, reason = ends_of_tasks([submission for submission, _, _ in left]), "Slurm's accounting gives no reason"
    except BadInput as error:
        ends, reason = {}, f"reason unknown: {error}"
    for submission, count, unfinished in left:
        tasks = [index for index, job in enumerate(submission.jobs) if unfinished.intersection(job)]
        why = summary(ends[submission.name, index] for index in tasks if (submission.name, index) in ends) or reason
        say(f"{submission.name} has left the queue with {len(unfinished)} of {count} runs unfinished ({why})")


def _reasons(tasks: Iterable[Task]) -> str:
    return ", ".join(sorted({task.reason for task in tasks}))
