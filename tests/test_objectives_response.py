"""Decoupled knowledge distillation, and label smoothing as its control."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special

from repro.distill.decoupled import DecoupledKD
from repro.distill.divergences import ForwardKL
from repro.distill.objective import Objective
from repro.distill.supervised import LabelSmoothing

GENERATOR = torch.Generator().manual_seed(0)
STUDENT = 2 * torch.randn(4, 5, generator=GENERATOR, dtype=torch.float64)
TEACHER = 2 * torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2])


def loss(objective: Objective, student: torch.Tensor = STUDENT, teacher: torch.Tensor = TEACHER) -> torch.Tensor:
    return objective.loss(student, teacher_logits=teacher, labels=LABELS, progress=0.0, generator=GENERATOR)


def test_decoupled_by_hand() -> None:
    # Teacher (.6, .3, .1), student (.5, .25, .25), target class 0.
    p, q = torch.tensor([[[0.6, 0.3, 0.1]]]).double().log(), torch.tensor([[0.5, 0.25, 0.25]]).double().log()
    target = 0.6 * np.log(0.6 / 0.5) + 0.4 * np.log(0.4 / 0.5)
    others = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    objective = DecoupledKD(temperature=1.0, target_weight=2.0, non_target_weight=3.0)
    value = objective.loss(q, teacher_logits=p, labels=None, progress=0.0, generator=GENERATOR)
    assert value.item() == pytest.approx(2 * target + 3 * others)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_agrees_with_numpy_and_has_the_papers_factor(temperature: float) -> None:
    mean = special.softmax(TEACHER.numpy(), axis=-1).mean(axis=0) ** (1 / temperature)
    p, q = mean / mean.sum(axis=1, keepdims=True), special.softmax(STUDENT.numpy() / temperature, axis=-1)
    expected = []
    for row, (pt, qt) in enumerate(zip(p, q, strict=True)):
        k = p[row].argmax()
        rest_p, rest_q = np.delete(pt, k), np.delete(qt, k)
        target = special.rel_entr([pt[k], rest_p.sum()], [qt[k], rest_q.sum()]).sum()
        expected.append(target + 8 * special.rel_entr(rest_p / rest_p.sum(), rest_q / rest_q.sum()).sum())
    assert loss(DecoupledKD(temperature=temperature)).item() == pytest.approx(temperature**2 * np.mean(expected))


def test_the_two_parts_add_up_to_the_divergence() -> None:
    """KL = target part + (1 - p_target) * other part, eq. 6, for one image at a time."""
    for image in range(4):
        student, teacher = STUDENT[image : image + 1], TEACHER[:1, image : image + 1]
        p_target = teacher.softmax(dim=-1).max().item()
        parts = DecoupledKD(temperature=1.0, target_weight=1.0, non_target_weight=1.0 - p_target)
        assert loss(parts, student, teacher).item() == pytest.approx(loss(ForwardKL(), student, teacher).item())


def test_decoupled_is_finite_for_a_sure_teacher_with_a_gradient_to_the_other_classes() -> None:
    student = torch.zeros(1, 4, requires_grad=True)
    sure = torch.tensor([[[300.0, 1.0, 0.0, 0.0]]])
    value = DecoupledKD(temperature=1.0).loss(
        student, teacher_logits=sure, labels=None, progress=0.0, generator=GENERATOR
    )
    value.backward()
    assert student.grad is not None and value.isfinite() and student.grad.isfinite().all()
    assert student.grad[0, 1] < -0.5  # forward_kl's gradient there is 0.25


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_the_cross_entropy_to_softened_labels(smoothing: float) -> None:
    targets = (1 - smoothing) * np.eye(5)[LABELS.numpy()] + smoothing / 5
    expected = -(targets * special.log_softmax(STUDENT.numpy(), axis=-1)).sum(axis=1).mean()
    objective = LabelSmoothing(smoothing=smoothing)
    assert objective.needs_labels and not objective.needs_teacher
    assert loss(objective).item() == pytest.approx(expected)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValidationError):
        LabelSmoothing(smoothing=1.0)
    with pytest.raises(ValidationError):
        DecoupledKD(non_target_weight=-1.0)
    with pytest.raises(ValueError, match="'label_smoothing' needs labels"):
        LabelSmoothing().loss(STUDENT, teacher_logits=None, labels=None, progress=0.0, generator=GENERATOR)
