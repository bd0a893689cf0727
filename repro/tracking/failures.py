"""What the client raises where W&B cannot be used, and how to say it in one line."""

import wandb
from pydantic import ValidationError

FAILURES = (wandb.Error, OSError, ValidationError)
"""No server, no or a wrong key, a full disk; a variable of the environment that the client cannot read."""


def reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        wrong = [f"WANDB_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        return "; ".join(wrong)
    return " ".join(str(error).split())
