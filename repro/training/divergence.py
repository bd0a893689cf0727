"""Losses that are no longer finite, and their likely cause."""

from torch import Tensor


def first_not_finite(losses: Tensor) -> int | None:
    """The index of the first of the losses (n,) that is infinite or NaN, or None. Waits for the device."""
    bad = (~losses.isfinite()).nonzero()
    return int(bad[0]) if len(bad) else None


def likely_cause(teacher_logits: Tensor | None, learning_rate: float, steps: int) -> str:
    """A hint for the user, based on some of the teacher's logits, the learning rate and the number of steps taken."""
    if teacher_logits is not None and not bool(teacher_logits.isfinite().all()):
        return "a teacher's own predictions are not finite: look at its record"
    if steps == 0:
        return "nothing had been learned yet: the cause is in the network, the objective or an augmentation"
    return (
        f"training diverged at learning rate {learning_rate:.3g}: "
        "lower optimizer.learning_rate or set schedule.warmup_epochs"
    )
