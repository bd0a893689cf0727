"""Run directories: the record of every run, on disk. See docs/architecture.md for what each file holds.

Files are written atomically (`metrics.jsonl` and `run.log` grow line by line), a run has one writer at a time, and
`summary.json` is written last: a run whose summary exists is done.
"""

import contextlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal

from repro.atomic import read_object, reading, write_atomically, writing
from repro.errors import BadInput, did_you_mean
from repro.lock import lock_path, lock_when_free, try_lock

if TYPE_CHECKING:  # importing torch takes seconds, which code that only reads records need not spend
    from torch import Tensor

    from repro.config import RunConfig

ATTACHMENTS = ("surface.json", "samples.png", "quality.json")
"""Files that some runs have and that are copied unchanged: a loss surface, generated images and their quality."""
KEYS: dict[str, dict[str, type | UnionType]] = {
    "config.json": {"config": dict},
    "environment.json": {"attempts": list},
    "summary.json": {"metrics": dict, "seconds": float | int, "data": dict},
    "failure.json": {"error": str, "traceback": str, "parent": str | None, "time": str},
}
"""What those who read a file of a record rely on: keys, and the types of their values."""
SHOWN_EXAMPLES = 8
"""The number of examples, the first ones, whose logits a compact record keeps, to be drawn (Figure 8)."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"

State = Literal["missing", "running", "interrupted", "failed", "done"]


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
        """The state of the run. Never blocks and changes nothing."""
        if self.is_done():
            return "done"
        if self.holder() is not None:
            return "running"
        if self.is_done():  # it ended while we looked
            return "done"
        if (self.path / "failure.json").exists():
            return "failed"
        return "interrupted" if (self.path / "config.json").exists() else "missing"

    def config(self) -> "RunConfig":
        from repro.config import parse_config

        content = self.read_json("config.json")["config"]
        try:
            return parse_config(content)
        except BadInput as error:  # as of a network of the user's own whose file has gone
            raise BadInput(f"{self.path / 'config.json'}: {error}", error.key) from error

    def read_json(self, name: str) -> dict[str, Any]:
        return read_object(self.path / name, KEYS.get(name, {}))

    def failure(self) -> str | None:
        """Why the last attempt failed; None if it did not, or if another attempt has just begun."""
        failure = self.last_failure()
        return failure["error"] if failure is not None else None

    def last_failure(self) -> dict[str, Any] | None:
        """What `write_failure` wrote if the last attempt failed, else None."""
        try:
            return self.read_json("failure.json")
        except FileNotFoundError:
            return None

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, oldest first; an empty list if there is no such file yet."""
        path = self.path / "metrics.jsonl"
        with reading(path):
            # A line without its newline is one that a killed writer did not finish.
            lines = path.read_text().split("\n")[:-1] if path.exists() else []
            return [json.loads(line) for line in lines]

    def last_metrics(self) -> dict[str, Any] | None:
        """The last complete row of `metrics.jsonl`, without reading the whole file."""
        try:
            with (self.path / "metrics.jsonl").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                tail, start = b"", size
                while start > 0 and tail.count(b"\n") < 2:  # the newline before the row, and its own
                    start = max(0, start - 4096)
                    file.seek(start)
                    tail = file.read(size - start)
        except FileNotFoundError:
            return None
        whole = tail[: tail.rfind(b"\n") + 1].splitlines()
        with reading(self.path / "metrics.jsonl"):
            return json.loads(whole[-1]) if whole else None

    def predictions(self) -> dict[str, "Tensor"]:
        return self.tensors("predictions.safetensors")

    def weights(self) -> dict[str, "Tensor"]:
        return self.tensors("model.safetensors")

    def tensors(self, name: str) -> dict[str, "Tensor"]:
        from safetensors.torch import load_file

        with reading(self.path / name):
            return load_file(self.path / name)

    def checkpoint(self) -> dict[str, Any] | None:
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        import torch

        with reading(path):
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content

    # -- writing it: only under `lock` --------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, on_wait: Callable[[str], None], while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Become the run's only writer. If it already has one, call `on_wait` with its name and wait for it.

        `while_waiting` is called a few times a second. Both may raise an exception to stop waiting.

        The lock is the kernel's (flock) and is released when its holder exits or is killed; the file's content only
        names the holder.
        """
        with self._open_lock() as file:

            def tell() -> None:
                file.seek(0)
                on_wait(_holder_named_in(file))

            lock_when_free(file, tell, while_waiting)
            with writing(self.path / "lock"):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n".encode())
            yield

    def holder(self) -> str | None:
        """Who is writing this run, or None. Raises BadInput if it cannot be locked."""
        path = lock_path(self.path)
        if not path.exists():
            return None
        with path.open("rb", buffering=0) as file:
            return None if try_lock(file, shared=True) else _holder_named_in(file)

    def seconds_since_write(self) -> float:
        """The age of the record's newest file; 0 if another machine's clock has dated it in the future."""
        times = []
        for path in self.path.iterdir():
            with contextlib.suppress(FileNotFoundError):  # renamed or removed by the run's writer just now
                times.append(path.stat().st_mtime)
        return max(0.0, time.time() - max(times))

    def _open_lock(self) -> io.FileIO:
        path = lock_path(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return path.open("ab+", buffering=0)
        except OSError as error:
            if self.path.exists():  # only this run, as where it is another user's
                raise BadInput(f"{error.filename}: cannot be written ({error.strerror})") from error
            raise BadInput(f"{self.path.parent}: cannot keep runs there ({error.strerror}); see --runs") from error

    def write_config(self, config: "RunConfig") -> None:
        self.write_plain_config(config.run_id, config.model_dump(mode="json"))

    def write_plain_config(self, run_id: str, config: dict[str, Any]) -> None:
        """Write a config that is already plain data."""
        self.write_json("config.json", {"run_id": run_id, "config": config})

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    def write_tensors(self, name: str, tensors: Mapping[str, "Tensor"]) -> None:
        import torch
        from safetensors.torch import save

        # Copied, because safetensors rejects tensors that share memory, such as a weight with several names.
        own = {key: t.detach().cpu().clone(memory_format=torch.contiguous_format) for key, t in tensors.items()}
        write_atomically(self.path / name, save(own))

    def write_picture(self, name: str, content: bytes) -> None:
        write_atomically(self.path / name, content)

    def write_checkpoint(self, content: dict[str, Any]) -> None:
        import torch

        # Through memory: on a full disk, torch would hide the cause behind an error of its own.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(self.path / "checkpoint.pt", buffer.getbuffer())

    def append_metrics(self, row: dict[str, Any]) -> None:
        path = self.path / "metrics.jsonl"
        with writing(path), path.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate_metrics(self, rows: int) -> None:
        """Drop the rows written after the checkpoint: they will be computed again, bit for bit."""
        path = self.path / "metrics.jsonl"
        kept = self.metrics()[:rows]
        with reading(path):
            if len(kept) < rows:  # as in a copy made while the run was written
                raise ValueError(f"it has {len(kept)} rows, its checkpoint knows of {rows}")
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def write_failure(self, error: str, traceback: str = "", parent: str | None = None) -> None:
        """Record why the run could not be finished; `parent` is the id of the parent whose failure is the reason."""
        content = {"error": error, "traceback": traceback, "parent": parent, "time": time.strftime(TIME_FORMAT)}
        self.write_json("failure.json", content)

    def forget_failure(self) -> None:
        (self.path / "failure.json").unlink(missing_ok=True)


class SharedRun(RunDirectory):
    """The record of a run in a process that trains it together with the process that writes it.

    Nothing is written except the reason if this process fails.
    """

    @contextlib.contextmanager
    def lock(self, on_wait: Callable[[str], None], while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:  # noqa: ARG002
        yield

    def write_json(self, name: str, content: dict[str, Any]) -> None: ...

    def write_tensors(self, name: str, tensors: Mapping[str, "Tensor"]) -> None: ...

    def write_checkpoint(self, content: dict[str, Any]) -> None: ...

    def append_metrics(self, row: dict[str, Any]) -> None: ...

    def truncate_metrics(self, rows: int) -> None: ...

    def forget_failure(self) -> None: ...

    def write_failure(self, error: str, traceback: str = "", parent: str | None = None) -> None:
        RunDirectory(self.path).write_failure(error, traceback, parent)


def _holder_named_in(lock: io.FileIO) -> str:
    return lock.read().decode().strip() or "another process"


def find_id(beginning: str, ids: Sequence[str], where: str, hint: str) -> str:
    """The one id that starts with `beginning`. Raises BadInput, which says `where` it looked, if none or several do."""
    found = [run_id for run_id in ids if run_id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:5])
        raise BadInput(f"{where}: {len(found)} run ids begin with '{beginning}', give more of it: {shown}")
    meant = did_you_mean(beginning, ids) if len(ids) < 10 else ""
    raise BadInput(f"{where}: no run is called '{beginning}'{meant or f'; {hint}'}")


@dataclass(frozen=True)
class Store:
    """A folder of run directories."""

    root: Path

    def run(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.root / run_id)

    def runs(self) -> list[RunDirectory]:
        """Every run that has a record, ordered by id."""
        if not self.root.is_dir():
            return []
        return [RunDirectory(path) for path in sorted(self.root.iterdir()) if (path / "config.json").exists()]
