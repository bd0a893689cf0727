"""The two ways in which a command can fail. Any other exception is a bug and shows its traceback."""

import contextlib
import difflib
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path


class BadInput(Exception):
    """The user asked for something impossible; the message is the one line they see (exit code 2).

    `key` is the dotted config key at fault, if there is one.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Damaged(BadInput):
    """A file of a run's record, or an export, is corrupt, for example after an incomplete copy."""


class RunFailed(Exception):
    """A run started and could not finish; the message says where and why (exit code 1)."""


class Interrupted(RunFailed):
    """The run was asked to stop; if it was being trained, it has written a checkpoint from which it resumes."""


class MadeElsewhere(RunFailed):
    """Another process is making the run, and the caller does not want to wait for it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch or Python says that the memory of the GPU or of the machine does not suffice."""
    # On the CPU, torch raises a plain RuntimeError; on a GPU, cuBLAS and cuDNN have errors of their own.
    said = ("out of memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED", "ALLOCATION_FAILED")
    return isinstance(error, MemoryError) or any(part in str(error) for part in said)


def is_loss_of_gpu(error: Exception) -> bool:
    """Whether the process cannot use its GPU any more: after an illegal access, say, all it asks of CUDA fails."""
    return type(error).__name__ == "AcceleratorError" and not is_out_of_memory(error)


@contextlib.contextmanager
def blamed_on(part: str) -> Iterator[None]:
    """Whatever code that may be the user's own raises, except BadInput, becomes BadInput: one line that names `part`,
    the error and its place."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise BadInput(f"{part}: it does not fit into this machine's memory ({error})") from error
        reason = str(error).partition("\n")[0]
        raise BadInput(f"{part}: {type(error).__name__}: {reason} ({_place_of(error)})") from error


def _place_of(error: Exception) -> str:
    """The file and line that raised an error, or that called the library which raised it."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '').name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    libraries = ("<", sysconfig.get_path("stdlib"))
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(libraries)]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"


def did_you_mean(given: str, valid: Iterable[str], too_many_to_list: Iterable[str] = ()) -> str:
    """`; did you mean 'x'?` for the closest match, or `; valid: a, b, c` if there is none."""
    candidates = sorted(valid)
    nearest = difflib.get_close_matches(given, [*candidates, *too_many_to_list], n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return f"; valid: {', '.join(candidates)}" if candidates else ""
