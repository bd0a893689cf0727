"""What is raised where W&B cannot be used, or where a record cannot be read, and how to say it in one line."""

import wandb
from pydantic import ValidationError

from repro.errors import BadInput, RunFailed

FAILURES = (wandb.Error, OSError, ValidationError)
"""No server, no or a wrong key, a full disk; what the client cannot read of the environment, or of an answer."""

UNREADABLE = (ValueError, BadInput, RunFailed)
"""A damaged record: a line that is no JSON, a config that is none."""


def reason(error: Exception) -> str:
    if isinstance(error, ValidationError) and error.title == "Settings":
        wrong = [f"WANDB_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        return "; ".join(wrong)
    said = " ".join(str(error).split())
    return said if isinstance(error, FAILURES) else f"its record cannot be read: {said}"
