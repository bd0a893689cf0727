"""Run directories: the record of every run, on disk. See docs/architecture.md for what each file holds.

Every file appears whole or not at all, a run has one writer at a time, and `summary.json` comes last: a run
whose summary exists is done.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from repro.config import StudentConfig, TeacherConfig, TrainingConfig, parse_config
from repro.errors import BadInput

State = Literal["missing", "running", "interrupted", "failed", "done"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, `path` holds either its old content or the new, whole."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<id>/`, the record of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    # -- what is known of the run -------------------------------------------------------------------------

    def is_done(self) -> bool:
        return (self.path / "summary.json").exists()

    def state(self) -> State:
        """Where the run stands. Never blocks and changes nothing."""
        if self.is_done():
            return "done"
        if self.holder() is not None:
            return "running"
        if (self.path / "failure.json").exists():
            return "failed"
        return "interrupted" if (self.path / "config.json").exists() else "missing"

    def config(self) -> TeacherConfig | StudentConfig:
        return parse_config(self.read_json("config.json")["config"])

    def read_json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / name).read_text())
        return content

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, oldest first; none if there is no such file yet."""
        path = self.path / "metrics.jsonl"
        # A line without its newline is one that a killed writer did not finish.
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def predictions(self) -> dict[str, Tensor]:
        return load_file(self.path / "predictions.safetensors")

    def weights(self) -> dict[str, Tensor]:
        return load_file(self.path / "model.safetensors")

    def checkpoint(self) -> dict[str, Any] | None:
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content

    # -- writing it: only under `lock` --------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Be the run's one writer; where there is one already, say so through `on_wait` and wait for it.

        The lock is the kernel's (flock) and ends with its holder, however that dies; the file's content only
        names the holder.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                on_wait(file.read().strip() or "another process")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
            file.flush()
            yield

    def holder(self) -> str | None:
        """Who is writing this run, or None."""
        path = self.path / "lock"
        if not path.exists():
            return None
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
        return None

    def _open_lock(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return (self.path / "lock").open("a+")
        except OSError as error:
            raise BadInput(f"{self.path.parent}: cannot keep runs there ({error.strerror}); see --runs") from error

    def write_config(self, config: TrainingConfig) -> None:
        self.write_json("config.json", {"run_id": config.run_id, "config": config.model_dump(mode="json")})

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(content, indent=1) + "\n").encode())

    def write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_atomically(self.path / name, save(contiguous))

    def write_checkpoint(self, content: dict[str, Any]) -> None:
        partial = self.path / ".checkpoint.pt.partial"
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path / "checkpoint.pt")

    def append_metrics(self, row: dict[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate_metrics(self, rows: int) -> None:
        """Forget what was written after the checkpoint: it will be computed again, to the bit."""
        kept = self.metrics()[:rows]
        if len(kept) < rows:
            raise BadInput(f"{self.path}: metrics.jsonl has {len(kept)} rows, its checkpoint knows of {rows}")
        write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept).encode())

    def forget_failure(self) -> None:
        (self.path / "failure.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Store:
    """A folder of run directories."""

    root: Path

    def run(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.root / run_id)

    def runs(self) -> list[RunDirectory]:
        """Every run there is a record of, by id."""
        if not self.root.is_dir():
            return []
        return [RunDirectory(path) for path in sorted(self.root.iterdir()) if (path / "config.json").exists()]
