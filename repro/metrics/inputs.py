"""Checks of the metrics' inputs, made without waiting for the device."""

import torch
from torch import Tensor


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless `logits` is (n, num_classes) with at least one example and one class."""
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"logits must be (n, num_classes) and not empty, got {tuple(logits.shape)}")


def check_same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise ValueError unless both are (n, num_classes) with the same n and num_classes."""
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits {tuple(teacher_logits.shape)} "
            "differ in shape"
        )
    check_logits(student_logits)


def class_indices(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels as int64, (n,), for logits (n, num_classes).

    Raises ValueError if shapes do not fit or labels are not integers. A label outside [0, num_classes) raises torch's
    own out-of-range error (on CUDA, a device-side assertion).
    """
    check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    # Looking up each label among the classes rejects unknown ones (-100 included) without synchronisation.
    classes = torch.arange(logits.shape[1], device=logits.device)
    return classes.gather(0, labels.long())
