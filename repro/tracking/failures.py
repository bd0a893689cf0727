"""The errors raised when W&B cannot be used or a record cannot be read, and their one-line messages."""

import wandb
from pydantic import ValidationError

from repro.errors import BadInput, RunFailed

FAILURES = (wandb.Error, OSError, ValidationError)
"""No server, a missing or wrong key, a full disk; settings or answers that the client cannot parse."""

UNREADABLE = (ValueError, BadInput, RunFailed)
"""A damaged record: a line that is not JSON, or an invalid config."""


def reason(error: Exception) -> str:
    if isinstance(error, ValidationError) and error.title == "Settings":
        wrong = [f"WANDB_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        return "; ".join(wrong)
    said = " ".join(str(error).split())
    return said if isinstance(error, FAILURES) else f"a record cannot be read: {said}"
