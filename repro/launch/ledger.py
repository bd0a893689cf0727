"""What was submitted to Slurm from a folder of runs: which array task makes which runs.

A submission is written down, whole or not at all, before `sbatch` is called, under a token that the job's name
carries. So whatever becomes of the launcher, of the scheduler's memory or of its job ids, asking the queue for the
names tells which runs are still on their way. Everything lies in `runs/.launch/`.
"""

import contextlib
import fcntl
import io
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from repro.errors import BadInput, RunFailed
from repro.store import write_atomically


@dataclass(frozen=True)
class Submission:
    """One job array. `jobs[i]` are the run ids of its task i; `job_id` is None until sbatch has answered."""

    token: str
    name: str
    time: str
    profile: str
    code: str
    jobs: list[list[str]]
    job_id: str | None = None


class Ledger:
    """The submissions of one folder of runs. Those that have left the queue are kept apart, to be looked up."""

    def __init__(self, runs: Path) -> None:
        self.folder = runs / ".launch"
        self.open_folder, self.ended_folder = self.folder / "submitted", self.folder / "ended"
        self.code_folder = self.folder / "code"

    def job_folder(self, token: str) -> Path:
        """Where a submission's pickles and job logs lie."""
        return self.folder / "jobs" / token

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only launcher of this folder of runs. Raises BadInput if it cannot be written."""
        with self._open_lock() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _open_lock(self) -> io.FileIO:
        try:
            for folder in (self.open_folder, self.ended_folder):
                folder.mkdir(parents=True, exist_ok=True)
            return (self.folder / "lock").open("ab+", buffering=0)
        except OSError as error:
            raise BadInput(f"{self.folder.parent}: cannot keep runs there ({error.strerror}); see --runs") from error

    def write(self, submission: Submission) -> None:
        """Write a submission down, or again with its job id. Raises BadInput if that is not possible."""
        try:
            write_atomically(self.open_folder / f"{submission.token}.json", json.dumps(asdict(submission)).encode())
        except RunFailed as error:
            raise BadInput(str(error)) from error

    def end(self, submission: Submission) -> None:
        """Put away a submission of which nothing is in the queue."""
        name = f"{submission.token}.json"
        (self.open_folder / name).rename(self.ended_folder / name)

    def open_submissions(self) -> list[Submission]:
        """Those of which something may be in the queue, oldest first."""
        return _read(self.open_folder)

    def submissions(self) -> list[Submission]:
        """All there ever were, oldest first."""
        return sorted([*_read(self.ended_folder), *_read(self.open_folder)], key=_age)

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
    """8 hexadecimal digits that no other submission has."""
    return secrets.token_hex(4)


def _read(folder: Path) -> list[Submission]:
    found: list[Submission] = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # put away just now
            found.append(Submission(**json.loads(path.read_text())))
    return sorted(found, key=_age)


def _age(submission: Submission) -> str:
    return submission.time
