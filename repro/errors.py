"""The two ways a command ends other than well. Anything else that escapes is a bug and shows its traceback."""

import difflib
from collections.abc import Iterable


class BadInput(Exception):
    """The user asked for something that cannot be; the message is the one line they see (exit code 2).

    `key` is the dotted config key at fault, where it is one.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Damaged(BadInput):
    """A file of a run's record, or an export, is not what was written, as after a copy that was cut short."""


class RunFailed(Exception):
    """A run started and could not finish; the message says where and why (exit code 1)."""


class Interrupted(RunFailed):
    """The run was asked to stop; it has written a checkpoint from which it goes on."""


class MadeElsewhere(RunFailed):
    """Another process is making the run, and whoever asked for it has something better to do than to wait."""


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `valid`, or `; valid: a, b, c` where none is near."""
    candidates = sorted(valid)
    nearest = difflib.get_close_matches(given, candidates, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return f"; valid: {', '.join(candidates)}" if candidates else ""
