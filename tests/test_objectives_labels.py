"""What the true labels and the teacher's own labels do to the loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from draws import seeded
from pydantic import ValidationError
from scipy import special, stats
from torch import Tensor

from repro.distill.divergences import ForwardCrossEntropy, ForwardKL, MemberSymmetricKL
from repro.distill.hard_labels import HardLabels
from repro.distill.logit_matching import LogitMSE
from repro.distill.objective import DistillationObjective
from repro.distill.supervised import CrossEntropy

STUDENT = 2 * torch.randn(4, 5, generator=seeded(0), dtype=torch.float64)
TEACHER = 2 * torch.randn(3, 4, 5, generator=seeded(1), dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2])


def loss(
    objective: DistillationObjective,
    labels: Tensor | None = None,
    progress: float = 0.0,
    student: Tensor = STUDENT,
    teacher: Tensor | None = TEACHER,
) -> float:
    value = objective.loss(student, teacher_logits=teacher, labels=labels, progress=progress, generator=seeded(0))
    return value.item()


def test_alpha_weighs_the_labels_at_temperature_one_against_the_tempered_distance() -> None:
    labels_only, distance_only = F.cross_entropy(STUDENT, LABELS).item(), loss(ForwardKL(temperature=4.0))
    for alpha in (0.1, 0.7):
        mixed = loss(ForwardKL(temperature=4.0, alpha=alpha), LABELS)
        assert mixed == pytest.approx(alpha * labels_only + (1 - alpha) * distance_only)
    assert loss(ForwardKL(temperature=4.0, alpha=1.0), LABELS) == pytest.approx(labels_only)


@pytest.mark.parametrize(("alpha", "alpha_final"), [(0.0, 0.8), (0.9, 0.1), (0.5, 0.0)])
def test_alpha_is_annealed_linearly_over_the_run(alpha: float, alpha_final: float) -> None:
    annealed = ForwardCrossEntropy(alpha=alpha, alpha_final=alpha_final)
    assert annealed.needs_labels
    labels_only, distance_only = F.cross_entropy(STUDENT, LABELS).item(), loss(ForwardCrossEntropy())
    for progress, weight in [(0.0, alpha), (0.5, (alpha + alpha_final) / 2), (1 - 1e-9, alpha_final)]:
        expected = weight * labels_only + (1 - weight) * distance_only
        assert loss(annealed, LABELS, progress) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "objective",
    [ForwardCrossEntropy(), MemberSymmetricKL(), LogitMSE(), HardLabels(), HardLabels(labels_from="sample")],
    ids=repr,
)
def test_poisoned_labels_change_nothing_where_labels_are_not_needed(objective: DistillationObjective) -> None:
    assert not objective.needs_labels
    for poisoned in ((LABELS + 1) % 5, torch.full((4,), 10**6), torch.full((4,), -7)):
        assert loss(objective, poisoned) == loss(objective, None)


def test_labels_matter_where_they_are_needed() -> None:
    objective = ForwardCrossEntropy(alpha=0.1)
    assert objective.needs_labels
    assert loss(objective, LABELS) != loss(objective, (LABELS + 1) % 5)


def test_missing_inputs_are_errors() -> None:
    with pytest.raises(ValueError, match="'forward_kl' needs labels"):
        loss(ForwardKL(alpha=0.5))
    with pytest.raises(ValueError, match="'forward_kl' needs the teacher's logits"):
        loss(ForwardKL(), teacher=None)
    with pytest.raises(ValueError, match="'cross_entropy' needs labels"):
        CrossEntropy().loss(STUDENT, teacher_logits=None, labels=None, progress=0.0, generator=seeded(0))


@pytest.mark.parametrize("shape", [(4, 5), (3, 1, 5), (3, 4, 1), (3, 5, 4)])
def test_teacher_logits_that_would_only_broadcast_are_errors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="members, batch, classes"):
        loss(ForwardKL(), teacher=torch.zeros(shape))


@pytest.mark.parametrize(
    ("objective", "fields", "message"),
    [
        (ForwardKL, {"alpha": 0.2, "alpha_final": 0.2}, "alpha_final equals alpha"),
        (ForwardKL, {"alpha_final": 0.0}, "alpha_final equals alpha"),
        (ForwardKL, {"alpha": 1.1}, "less than or equal to 1"),
        (ForwardKL, {"alpha_final": -0.1}, "greater than or equal to 0"),
        (ForwardKL, {"temperature": 0.0}, "greater than 0"),
        (LogitMSE, {"temperature": 4.0}, "needs temperature 1"),
        (HardLabels, {"temperature": 4.0}, "needs temperature 1"),
        (HardLabels, {"labels_from": "median"}, "'argmax' or 'sample'"),
    ],
)
def test_contradictory_configs_are_refused(
    objective: type[DistillationObjective], fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        objective.model_validate(fields)


def test_argmax_labels_are_the_ensembles_and_not_a_vote() -> None:
    # Two members lean to class 0; the third is so sure of class 1 that the mean prefers it.
    members = torch.tensor([[[0.55, 0.45]], [[0.55, 0.45]], [[0.01, 0.99]]]).log()
    assert HardLabels().teacher_labels(members, seeded(0)).tolist() == [1]


def test_hard_label_loss_is_the_students_loss_on_the_teachers_labels() -> None:
    labels = special.softmax(TEACHER.numpy(), axis=-1).mean(axis=0).argmax(axis=-1)
    expected = -special.log_softmax(STUDENT.numpy(), axis=-1)[np.arange(4), labels].mean()
    assert loss(HardLabels()) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_sampled_labels_follow_the_tempered_ensemble(temperature: float) -> None:
    draws = 50_000
    teacher = TEACHER[:, :1].expand(-1, draws, -1).float()
    labels = HardLabels(labels_from="sample", temperature=temperature).teacher_labels(teacher, seeded(3))
    tempered = special.softmax(TEACHER[:, 0].numpy(), axis=-1).mean(axis=0) ** (1 / temperature)
    counts = np.bincount(labels.numpy(), minlength=5)
    assert stats.chisquare(counts, draws * tempered / tempered.sum()).pvalue > 1e-3


def test_labels_of_negligible_probability_are_never_drawn() -> None:
    teacher = torch.tensor([0.0, -1e4, -60.0, 0.0]).expand(1, 100_000, 4)
    labels = HardLabels(labels_from="sample").teacher_labels(teacher, seeded(0))
    assert set(labels.tolist()) == {0, 3}


def test_sampled_labels_are_fixed_by_the_generator_alone() -> None:
    objective, teacher = HardLabels(labels_from="sample"), TEACHER.repeat(1, 50, 1)
    generator = seeded(7)
    first, second = (objective.teacher_labels(teacher, generator) for _ in range(2))
    torch.manual_seed(99)
    assert torch.equal(objective.teacher_labels(teacher, seeded(7)), first)
    assert not torch.equal(first, second)


def test_sampled_labels_estimate_the_forward_cross_entropy_without_bias() -> None:
    draws = 50_000
    student, teacher = STUDENT[:1].expand(draws, -1), TEACHER[:, :1].expand(-1, draws, -1)
    estimate = loss(HardLabels(labels_from="sample", temperature=2.0), student=student, teacher=teacher)
    exact = loss(ForwardCrossEntropy(temperature=2.0), student=student[:1], teacher=teacher[:, :1])
    assert estimate == pytest.approx(exact, rel=0.01)
