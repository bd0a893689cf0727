"""What was submitted to Slurm from a folder of runs: which array task makes which runs.

A submission is written atomically before `sbatch` is called, under a token that is part of the job's name. So even if
the launcher is killed, or the scheduler loses its state or reuses job ids, asking the queue for these names tells which
runs are still on their way. Everything is in `runs/.launch/`.
"""

import contextlib
import hashlib
import io
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from repro.atomic import reading, write_atomically
from repro.errors import BadInput, RunFailed
from repro.launch.request import Request
from repro.lock import lock_path, lock_when_free
from repro.store import Store

MOST_REQUEUED = 400
"""How many archived submissions, the latest, are looked for in the queue: the length of a command line is limited."""


@dataclass(frozen=True)
class Submission:
    """One job array. `jobs[i]` holds the run ids of task i; `job_id` is None until sbatch has answered."""

    token: str
    name: str
    time: str
    profile: str
    code: str
    jobs: list[list[str]]
    job_id: str | None = None


@dataclass(frozen=True)
class SweepRun:
    """A run as a sweep knows it."""

    run_id: str
    label: str
    condition: str
    trial: int | None
    tags: Sequence[str] = ()
    parents: Sequence[str] = ()
    """The ids of the runs whose results it needs."""


class Ledger:
    """The submissions of one folder of runs. Those that have left the queue are kept separately, for reference."""

    def __init__(self, runs: Path) -> None:
        self.store = Store(runs)
        self.folder = runs / ".launch"
        self.open_folder, self.ended_folder = self.folder / "submitted", self.folder / "ended"
        self.code_folder, self.sweep_folder = self.folder / "code", self.folder / "sweeps"

    def job_folder(self, token: str) -> Path:
        """The folder of a submission's pickles and job logs."""
        return self.folder / "jobs" / token

    @contextlib.contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only launcher of this folder of runs; `say` is told if another one has to finish first.

        Raises BadInput if the folder is not writable, or its file system does not support locks.
        """
        with self._open_lock() as file:
            waiting = f"waiting for another command that launches or cancels runs in {self.folder.parent}"
            lock_when_free(file, on_wait=lambda: say(waiting), while_waiting=lambda: None)
            yield

    def _open_lock(self) -> io.FileIO:
        try:
            for folder in (self.open_folder, self.ended_folder):
                folder.mkdir(parents=True, exist_ok=True)
            return lock_path(self.folder).open("ab+", buffering=0)
        except OSError as error:
            raise BadInput(f"{self.folder.parent}: cannot keep runs there ({error.strerror}); see --runs") from error

    def write(self, submission: Submission) -> None:
        """Write a submission, or rewrite it with its job id. Raises BadInput if that fails."""
        try:
            write_atomically(self.open_folder / f"{submission.token}.json", json.dumps(asdict(submission)).encode())
        except RunFailed as error:
            raise BadInput(str(error)) from error

    def forget(self, submission: Submission) -> None:
        """Delete a submission that did not succeed, and its job folder."""
        (self.open_folder / f"{submission.token}.json").unlink(missing_ok=True)
        shutil.rmtree(self.job_folder(submission.token), ignore_errors=True)

    def end(self, submission: Submission) -> None:
        """Archive a submission none of whose jobs are in the queue."""
        name = f"{submission.token}.json"
        (self.open_folder / name).rename(self.ended_folder / name)

    def open_submissions(self) -> list[Submission]:
        """The submissions that had jobs in the queue at the last launch, oldest first."""
        return _read(self.open_folder)

    def submissions_to_look_for(self) -> list[Submission]:
        """The submissions that may have jobs in the queue, oldest first.

        These are the open ones, and the latest archived ones: a person can put a job that has ended back into the queue
        (`scontrol requeue`).
        """
        opened = self.open_submissions()  # first, as in `submissions`
        return _joined(_read(self.ended_folder)[-MOST_REQUEUED:], opened)

    def submissions(self) -> list[Submission]:
        """All submissions ever made, oldest first."""
        opened = _read(self.open_folder)  # first, so that one archived meanwhile is read twice, not missed
        return _joined(_read(self.ended_folder), opened)

    def remember_sweep(self, name: str, origin: Mapping[str, Any], plan: Sequence[Request]) -> Callable[[], None]:
        """Record the runs of a sweep, so that they can be shown without its file. Raises BadInput on failure.

        `origin` distinguishes sweeps of the same name; the same origin overwrites the earlier record. Call this only
        under the lock. The returned function removes the record again, unless there was one before.
        """
        key = hashlib.sha256(json.dumps(origin, sort_keys=True, default=str).encode()).hexdigest()[:8]
        runs = [SweepRun(one.run_id, one.label, one.condition, one.trial, one.tags, one.parent_ids) for one in plan]
        content = {"sweep": name, "origin": origin, "runs": [asdict(run) for run in runs]}
        path = self.sweep_folder / f"{name}-{key}.json"
        known = path.exists()
        try:
            self.sweep_folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(content, default=str).encode())
        except (OSError, RunFailed) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise BadInput(f"{self.folder.parent}: cannot keep runs there ({reason}); see --runs") from error
        return (lambda: None) if known else (lambda: path.unlink(missing_ok=True))

    def sweeps(self) -> dict[str, list[SweepRun]]:
        """The runs of every launched sweep, by sweep name, and of every `repro run`, by study name."""
        found: dict[str, list[SweepRun]] = {}
        for path in sorted(self.sweep_folder.glob("*.json")):
            # Suppressed if it was removed just now, by a launch that was refused.
            with contextlib.suppress(FileNotFoundError), reading(path, "remove it, and launch the sweep again"):
                content = json.loads(path.read_text())
                found.setdefault(content["sweep"], []).extend(SweepRun(**run) for run in content["runs"])
        return found

    def sweep_of_runs(self) -> dict[str, tuple[str, SweepRun]]:
        """Every run in `sweeps`, parents first, by id, with the name of the first sweep that asked for it."""
        found: dict[str, tuple[str, SweepRun]] = {}
        for sweep, runs in self.sweeps().items():
            for run in runs:
                found.setdefault(run.run_id, (sweep, run))
        return found

    def job_logs(self, run_id: str) -> list[Path]:
        """The logs of every job that was to make the run, oldest first."""
        logs: list[Path] = []
        for submission in self.submissions():
            for index, run_ids in enumerate(submission.jobs):
                if run_id in run_ids:
                    task = f"*_{index}_0_log" if len(submission.jobs) > 1 else "*_0_log"
                    logs += sorted(self.job_folder(submission.token).glob(f"{task}.*"))
        return logs


def new_token() -> str:
    """8 random hexadecimal digits that identify a submission."""
    return secrets.token_hex(4)


def _read(folder: Path) -> list[Submission]:
    found: list[Submission] = []
    for path in folder.glob("*.json"):
        remedy = "remove it, and cancel its jobs by hand if any are in the queue"
        with contextlib.suppress(FileNotFoundError), reading(path, remedy):  # suppressed if it was archived just now
            found.append(Submission(**json.loads(path.read_text())))
    return sorted(found, key=_age)


def _joined(archived: Sequence[Submission], opened: Sequence[Submission]) -> list[Submission]:
    return sorted({one.token: one for one in [*archived, *opened]}.values(), key=_age)


def _age(submission: Submission) -> datetime:
    return datetime.fromisoformat(submission.time)  # not as text: the UTC offset changes with daylight saving time
