"""Fidelity: how well a student's predictive distribution matches its teacher's (Stanton et al. 2021).

Logits are (n, num_classes) and finite; NaN logits give NaN, never a number. Results are float64 on the
logits' device. Average a metric over per-example values of the whole set, never over means of batches.
"""

import torch
from torch import Tensor

from repro.metrics.inputs import check_same_shape


def agreement_per_example(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """1 where student and teacher predict the same class, else 0; shape (n,)."""
    check_same_shape(student_logits, teacher_logits)
    agree = (student_logits.argmax(dim=1) == teacher_logits.argmax(dim=1)).double()
    # argmax treats NaN as the largest entry: two diverged networks would seem to agree.
    undefined = student_logits.isnan().any(dim=1) | teacher_logits.isnan().any(dim=1)
    return agree.masked_fill(undefined, torch.nan)


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Average top-1 agreement, in [0, 1] (Stanton et al. 2021, eq. 2)."""
    return agreement_per_example(student_logits, teacher_logits).mean()


def kl_per_example(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL(p_teacher || p_student) of each example in nats at temperature 1; shape (n,).

    Works on log-probabilities in float64, so it is finite for any finite float32 logits.
    """
    check_same_shape(student_logits, teacher_logits)
    teacher_log_probs = teacher_logits.double().log_softmax(dim=1)
    student_log_probs = student_logits.double().log_softmax(dim=1)
    return (teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)).sum(dim=1)


def predictive_kl(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Average predictive KL(p_teacher || p_student) in nats (Stanton et al. 2021, eq. 3)."""
    return kl_per_example(teacher_logits, student_logits).mean()


def evaluate_fidelity(student_logits: Tensor, teacher_logits: Tensor) -> dict[str, Tensor]:
    """`agreement` and `kl` (teacher to student) as 0-dim tensors."""
    return {
        "agreement": agreement(student_logits, teacher_logits),
        "kl": predictive_kl(teacher_logits, student_logits),
    }
