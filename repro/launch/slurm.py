"""Submit runs to Slurm through submitit: one array of jobs for each level of the graph of runs."""

import contextlib
import io
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.errors import BadInput, RunFailed
from repro.launch.job import Job
from repro.launch.ledger import Ledger, Submission, new_token
from repro.launch.profile import KEY_OF_OPTION, OWN_OPTIONS, Profile
from repro.launch.request import Request, order
from repro.launch.scratch import VARIABLE as SCRATCH
from repro.launch.slurm_queue import Task, cancel_by_name
from repro.progress import counted
from repro.store import TIME_FORMAT, Store
from repro.tracking.mirror import Mode

SAFE_NAME = re.compile(r"[^\w.-]")
"""Characters in a job name that squeue could not search for or print unambiguously."""
OPTION_OF_VARIABLE = {"timelimit": "time", "mem-per-node": "mem", "array-inx": "array"}
"""sbatch options whose environment variable has another name than theirs."""
OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Environment variables that say where Slurm is, in a job as anywhere else."""
MAX_TIMEOUTS = 100
"""How often a job may time out and be requeued. For time limits up to ten minutes, submitit counts preemptions too."""


@dataclass(frozen=True)
class Array:
    """Jobs of one level, each a list of runs; they start once the level above and the jobs `after_ids` have ended."""

    level: int
    jobs: list[list[Request]]
    parallelism: int
    after_ids: tuple[str, ...]

    @property
    def runs(self) -> int:
        return sum(len(job) for job in self.jobs)


def arrange(requests: Sequence[Request], queued: Mapping[str, Task], profile: Profile) -> list[Array]:
    """Pack runs into jobs and jobs into arrays: first runs without unfinished parents, then those that need them, ...

    `requests` are ordered parents first. Runs in `queued` are in Slurm's queue already; runs that need them depend on
    their jobs.
    """
    levels: dict[str, int] = {}
    for request in requests:
        waits_for = [parent for parent in request.parent_ids if parent in levels or parent in queued]
        levels[request.run_id] = 1 + max((levels.get(parent, 0) for parent in waits_for), default=-1)
    arrays = []
    for level in sorted(set(levels.values())):
        runs = [request for request in requests if levels[request.run_id] == level]
        jobs = list(_chunks(runs, profile.runs_per_job))
        chunks = list(_chunks(jobs, profile.array_size))
        parallelism = max(1, profile.array_parallelism // len(chunks))
        for chunk in chunks:
            parents = {parent for job in chunk for request in job for parent in request.parent_ids}
            after = sorted({queued[parent].array_id for parent in parents if parent in queued})
            arrays.append(Array(level, chunk, parallelism, tuple(after)))
    return arrays


def sbatch_parameters(profile: Profile, name: str, parallelism: int, after_ids: Iterable[str]) -> dict[str, Any]:
    """The options for sbatch, under submitit's names: mostly those of sbatch with `_` for `-`."""
    after = ":".join(after_ids)
    parameters: dict[str, Any] = {
        "job_name": name,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "time": profile.minutes,
        "gpus_per_node": f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else profile.gpus or None,
        "cpus_per_task": profile.cpus,
        "mem": profile.memory,
        "array_parallelism": parallelism,
        "signal_delay_s": profile.warning_seconds,
        "dependency": f"afterany:{after}" if after else None,
    }
    # requeue: after a node failure. kill-on-invalid-dep: a job whose dependency can never be met must not wait forever.
    others = {"requeue": True, "kill-on-invalid-dep": "yes", **profile.sbatch}
    return {key: value for key, value in parameters.items() if value is not None} | {"additional_parameters": others}


@contextlib.contextmanager
def _only_what_is_asked(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Hide environment variables that would change jobs with these parameters.

    These are the user's defaults, such as SBATCH_PARTITION, for options that the parameters set: to sbatch, they count
    more than the script. And, if this process is in a job itself, what Slurm told that job (SLURM_MEM_PER_CPU): the new
    jobs would inherit it, and their srun would obey it.
    """
    ours = {key.replace("_", "-") for key in parameters} | {*parameters["additional_parameters"]}
    ours |= {*OWN_OPTIONS, *KEY_OF_OPTION, "gpus"}

    def is_hidden(variable: str) -> bool:
        if variable.startswith("SBATCH_"):
            option = variable.removeprefix("SBATCH_").lower().replace("_", "-")
            return OPTION_OF_VARIABLE.get(option, option) in ours
        return "SLURM_JOB_ID" in before and variable.startswith("SLURM_") and variable not in OF_THE_CLUSTER

    before = dict(os.environ)
    hidden = {variable: value for variable, value in before.items() if is_hidden(variable)}
    for variable in hidden:
        del os.environ[variable]
    try:
        yield
    finally:
        os.environ.update(hidden)


class Refused(BadInput):
    """Slurm rejects the jobs."""


class PartlyRefused(RunFailed):
    """Slurm rejects an array after it has accepted others; `lines` are about those, for the user."""

    def __init__(self, message: str, lines: Sequence[str]) -> None:
        super().__init__(message)
        self.lines = lines


@dataclass(frozen=True)
class Submitter:
    """Submits the arrays of one launch; each is written to the ledger before it is submitted."""

    ledger: Ledger
    store: Store
    data: Path
    profile: Profile
    profile_name: str
    sweep_name: str
    code: Path
    wandb: Mode = "disabled"

    def submit(self, arrays: Sequence[Array]) -> list[str]:
        """Submit every array, each dependent on those of the level above; return a line about each, for the user.

        Raises BadInput if Slurm refuses the first array, PartlyRefused if a later one; earlier arrays stay submitted.
        Raises BadInput if the disk fails; then all arrays are withdrawn, since their runs could not be written either.
        """
        ids: dict[int, list[str]] = {}
        submitted: list[Submission] = []
        lines: list[str] = []
        for number, array in enumerate(arrays):
            after = [*array.after_ids, *ids.get(array.level - 1, [])]
            submission = self._note(array)
            try:
                job_id = self._submit(submission, array, after)
            except Refused as error:
                self._undo(submission)
                if number == 0:
                    raise
                raise PartlyRefused(
                    f"{error}; {number} of {len(arrays)} arrays are submitted; "
                    "when Slurm would take the others too, launch again to submit the rest",
                    lines,
                ) from error
            except BadInput:
                for each in (submission, *reversed(submitted)):
                    self._undo(each)
                raise
            submitted.append(submission)
            ids.setdefault(array.level, []).append(job_id)
            waits = f", after {', '.join(after)}" if after else ""
            jobs = counted(len(array.jobs), "job")
            lines.append(f"submitted {job_id}: {counted(array.runs, 'run')} in {jobs}{waits}")
        return lines

    def _note(self, array: Array) -> Submission:
        """The ledger's entry for an array."""
        token = new_token()
        return Submission(
            token=token,
            name=f"repro-{SAFE_NAME.sub('_', self.sweep_name)}-{token}",
            time=time.strftime(TIME_FORMAT),
            profile=self.profile_name,
            code=self.code.name,
            jobs=[[request.run_id for request in job] for job in array.jobs],
        )

    def _submit(self, submission: Submission, array: Array, after: Sequence[str]) -> str:
        """Record the submission, submit it, and record its job id. Raises Refused, or BadInput if the disk fails."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        parameters = sbatch_parameters(self.profile, submission.name, array.parallelism, after)
        folder = self.ledger.job_folder(submission.token)
        self.ledger.write(submission)
        try:
            executor = SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
            # From Slurm 22.05 on, srun does not inherit the number of CPUs from sbatch.
            executor.update_parameters(
                **parameters, setup=self._setup(), srun_args=[f"--cpus-per-task={self.profile.cpus}"]
            )
            with (
                contextlib.redirect_stderr(io.StringIO()),  # submitit repeats its error messages there
                _only_what_is_asked(parameters),
            ):
                jobs = executor.submit_array([self.job(requests) for requests in array.jobs])
        except (FailedJobError, FailedSubmissionError) as error:
            raise Refused(f"Slurm refused the jobs: {_in_one_line(error)}") from error
        except OSError as error:
            raise BadInput(f"{folder}: the jobs cannot be written ({error.strerror}); see --runs") from error
        job_id = str(jobs[0].job_id).partition("_")[0]
        self.ledger.write(replace(submission, job_id=job_id))
        return job_id

    def _undo(self, submission: Submission) -> None:
        """Withdraw a submission that failed or was cut short; Slurm may have accepted it all the same.

        If Slurm does not answer, the entry stays in the ledger, and the next launch cancels the jobs.
        """
        with contextlib.suppress(BadInput):
            cancel_by_name(submission)
            self.ledger.forget(submission)

    def job(self, requests: Sequence[Request]) -> Job:
        """The job that makes `requests`."""
        return Job(
            runs=tuple(order(request) for request in requests),
            store=self.store.root.absolute(),
            data=self.data.absolute(),
            devices=self.profile.devices,
            at_once=self.profile.runs_at_once,
            threads=self.profile.threads,
            processes=self.profile.processes_per_run,
            code=self.code.absolute(),
            warning_seconds=self.profile.warning_seconds,
            wandb=self.wandb,
            group=self.sweep_name,
        )

    def _setup(self) -> list[str]:
        """The shell lines that run before the job's command."""
        lines = list(self.profile.preamble)
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.profile.environment.items()]
        if self.profile.scratch is not None:  # in double quotes, for the node's shell to expand
            lines += [f'export {SCRATCH}="{self.profile.scratch}" TMPDIR="{self.profile.scratch}"']
            lines += [f'mkdir -p "${SCRATCH}"']
        # Without PYTHONSAFEPATH, Python would first look for the code in the current folder, often a checkout.
        code = shlex.quote(str(self.code.absolute()))
        lines.append(f"export PYTHONSAFEPATH=1 PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}")
        return lines


def make_now(submitter: Submitter, arrays: Sequence[Array]) -> None:
    """Call the jobs that would be submitted, one after another, in this process: submitit's debug mode."""
    from submitit import DebugExecutor

    executor = DebugExecutor(submitter.ledger.job_folder("debug"))
    for array in arrays:
        for requests in array.jobs:
            executor.submit(submitter.job(requests)).results()


def _chunks(items: Sequence[Any], size: int) -> Iterable[list[Any]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
