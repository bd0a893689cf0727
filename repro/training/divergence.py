"""Losses that are no numbers any more, and why that may be."""

from torch import Tensor


def first_not_finite(losses: Tensor) -> int | None:
    """The place of the first loss (n,) that is infinite or NaN. Waits for the device."""
    bad = (~losses.isfinite()).nonzero()
    return int(bad[0]) if len(bad) else None


def likely_cause(teacher_logits: Tensor | None, learning_rate: float, steps: int) -> str:
    """A hint for people, from some of the teacher's logits, the learning rate and how many steps had been taken."""
    if teacher_logits is not None and not bool(teacher_logits.isfinite().all()):
        return "a teacher's own predictions are not finite: look at its record"
    if steps == 0:
        return "nothing had been learned yet: the cause is in the network, the objective or an augmentation"
    return (
        f"training diverged at learning rate {learning_rate:.3g}: "
        "lower optimizer.learning_rate or set schedule.warmup_epochs"
    )
