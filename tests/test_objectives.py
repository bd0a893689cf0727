"""Every objective's value and gradient: by hand, against scipy, by finite differences and at the extremes."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from repro.distill.divergences import (
    Brier,
    ForwardCrossEntropy,
    ForwardKL,
    MemberSymmetricKL,
    ReverseKL,
    SymmetricKL,
)
from repro.distill.hard_labels import HardLabels
from repro.distill.logit_matching import LogitMSE
from repro.distill.objective import DistillationObjective, Objective
from repro.distill.supervised import CrossEntropy

SOFTENED: list[type[DistillationObjective]] = [
    ForwardCrossEntropy,
    ForwardKL,
    ReverseKL,
    SymmetricKL,
    MemberSymmetricKL,
    Brier,
]
Array = npt.NDArray[np.float64]


def made(objective: type[DistillationObjective], **fields: object) -> DistillationObjective:
    return objective.model_validate(fields)


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    return objective.loss(
        student,
        teacher_logits=teacher,
        labels=labels,
        progress=0.0,
        generator=torch.Generator().manual_seed(5),
    )


def gradient(objective: Objective, student: Tensor, teacher: Tensor) -> Tensor:
    student = student.detach().clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(objective, student, teacher), student)
    return result


BY_HAND: list[tuple[DistillationObjective, float]] = [
    (ForwardCrossEntropy(), math.log(2)),
    (ForwardKL(), 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
    (ReverseKL(), 0.5 * math.log(4 / 3)),
    (SymmetricKL(), math.log(3) / 8),
    (MemberSymmetricKL(), math.log(3) / 8),
    (Brier(), 2 * 0.25**2),
    (HardLabels(), math.log(2)),
    (LogitMSE(), math.log(3) ** 2 / 8),
    (LogitMSE(zero_mean=False), (math.log(0.75) ** 2 + math.log(0.25) ** 2) / 4),
]


@pytest.mark.parametrize(("objective", "value"), BY_HAND)
def test_value_by_hand_for_a_teacher_of_three_to_one_and_an_even_student(
    objective: DistillationObjective, value: float
) -> None:
    teacher = torch.tensor([[[math.log(3), 0.0]]], dtype=torch.float64)
    assert loss(objective, torch.zeros(1, 2).double(), teacher).item() == pytest.approx(value)


@pytest.mark.parametrize(("objective", "value"), BY_HAND[:6])
@pytest.mark.parametrize(("temperature_squared", "factor"), [(True, 4), (False, 1)])
def test_temperature_two_softens_nine_to_one_into_three_to_one(
    objective: DistillationObjective, value: float, temperature_squared: bool, factor: int
) -> None:
    teacher, student = torch.tensor([[[math.log(9), 0.0]]], dtype=torch.float64), torch.zeros(1, 2).double()
    tempered = made(type(objective), temperature=2.0, temperature_squared=temperature_squared)
    assert loss(tempered, student, teacher).item() == pytest.approx(factor * value)


def test_the_ensemble_is_averaged_first_and_then_tempered() -> None:
    members = torch.tensor([[[0.5, 0.3, 0.2]], [[0.7, 0.1, 0.2]]], dtype=torch.float64).log()
    matching = torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64).log()
    assert loss(ForwardKL(temperature=0.5), matching, members).item() == pytest.approx(0, abs=1e-12)


def kl(p: Array, q: Array) -> Array:
    divergence: Array = special.rel_entr(p, q).sum(axis=-1)
    return divergence


def symmetric(p: Array, q: Array) -> Array:
    return (kl(p, q) + kl(q, p)) / 2


ORACLES: dict[type[DistillationObjective], Callable[[Array, Array, Array], Array]] = {
    ForwardCrossEntropy: lambda p, q, _: -special.xlogy(p, q).sum(axis=-1),
    ForwardKL: lambda p, q, _: kl(p, q),
    ReverseKL: lambda p, q, _: kl(q, p),
    SymmetricKL: lambda p, q, _: symmetric(p, q),
    MemberSymmetricKL: lambda _, q, members: symmetric(members, q),
    Brier: lambda p, q, _: ((p - q) ** 2).sum(axis=-1),
}
"""From the tempered ensemble p, the student q and the tempered members: the distance per image."""


@pytest.mark.parametrize("objective", SOFTENED)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
def test_value_agrees_with_scipy_in_probability_space(
    objective: type[DistillationObjective], temperature: float
) -> None:
    student, teacher = logits(6, 10), logits(3, 6, 10, seed=1)
    ensemble = special.softmax(teacher.numpy(), axis=-1).mean(axis=0) ** (1 / temperature)
    ensemble /= ensemble.sum(axis=-1, keepdims=True)
    members = special.softmax(teacher.numpy() / temperature, axis=-1)
    q = special.softmax(student.numpy() / temperature, axis=-1)
    expected = temperature**2 * ORACLES[objective](ensemble, q, members).mean()
    assert loss(made(objective, temperature=temperature), student, teacher).item() == pytest.approx(expected)


def test_logit_mse_agrees_with_numpy() -> None:
    student, teacher = logits(6, 10), logits(3, 6, 10, seed=1)
    target = np.log(special.softmax(teacher.numpy(), axis=-1).mean(axis=0))
    for zero_mean in (True, False):
        difference = student.numpy() - target
        if zero_mean:
            difference = difference - difference.mean(axis=-1, keepdims=True)
        expected = np.mean([row @ row / (2 * 10) for row in difference])
        assert loss(LogitMSE(zero_mean=zero_mean), student, teacher).item() == pytest.approx(expected)


def test_cross_entropy_is_the_mean_negative_log_likelihood_of_the_labels() -> None:
    student, labels = logits(6, 10), torch.tensor([0, 9, 3, 3, 1, 7])
    expected = -np.mean(special.log_softmax(student.numpy(), axis=-1)[np.arange(6), labels.numpy()])
    generator = torch.Generator()
    value = CrossEntropy().loss(student, teacher_logits=None, labels=labels, progress=0.5, generator=generator)
    assert value.item() == pytest.approx(expected)


ALL: list[Objective] = [
    CrossEntropy(),
    *(made(objective, temperature=temperature, alpha=0.3) for objective in SOFTENED for temperature in (1.0, 4.0)),
    HardLabels(),
    HardLabels(labels_from="sample", temperature=4.0),
    LogitMSE(),
    LogitMSE(zero_mean=False),
]


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_gradient_agrees_with_finite_differences(objective: Objective) -> None:
    teacher, labels = logits(2, 2, 3, seed=1), torch.tensor([0, 2])
    student = logits(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(objective, z, teacher, labels), student)


@pytest.mark.parametrize("objective", [o for o in SOFTENED if o is not MemberSymmetricKL] + [LogitMSE])
def test_gradient_vanishes_where_the_student_matches_the_ensemble_and_not_elsewhere(
    objective: type[DistillationObjective],
) -> None:
    teacher = logits(3, 4, 5, seed=1)
    matching = torch.softmax(teacher, -1).mean(0).log() + 2.5  # a shift leaves the distribution as it is
    temperature = 1.0 if objective is LogitMSE else 4.0
    assert gradient(made(objective, temperature=temperature), matching, teacher).abs().max() < 1e-12
    assert gradient(made(objective, temperature=temperature), logits(4, 5), teacher).abs().max() > 1e-2


def test_forward_kl_is_the_cross_entropy_less_the_teachers_entropy_with_the_same_gradient() -> None:
    student, teacher = logits(4, 5), logits(1, 4, 5, seed=1)
    p = special.softmax(teacher[0].numpy(), axis=-1)
    difference = loss(ForwardCrossEntropy(), student, teacher) - loss(ForwardKL(), student, teacher)
    assert difference.item() == pytest.approx(special.entr(p).sum(axis=-1).mean())
    torch.testing.assert_close(
        gradient(ForwardCrossEntropy(), student, teacher), gradient(ForwardKL(), student, teacher)
    )


def test_member_symmetric_kl_is_symmetric_kl_for_one_member_but_not_for_members_that_disagree() -> None:
    student, teacher = logits(4, 5), logits(3, 4, 5, seed=1)
    for temperature in (1.0, 4.0):
        members = MemberSymmetricKL(temperature=temperature)
        ensemble = SymmetricKL(temperature=temperature)
        singles = [loss(ensemble, student, member[None]).item() for member in teacher]
        assert loss(members, student, teacher[:1]).item() == pytest.approx(singles[0])
        assert loss(members, student, teacher).item() == pytest.approx(np.mean(singles))
        assert loss(members, student, teacher).item() > 1.05 * loss(ensemble, student, teacher).item()


@pytest.mark.parametrize("objective", [ForwardCrossEntropy, ForwardKL, ReverseKL, SymmetricKL])
def test_at_high_temperature_the_gradient_tends_to_that_of_logit_mse_as_one_over_tau(
    objective: type[DistillationObjective],
) -> None:
    student, teacher = logits(4, 5), logits(3, 4, 5, seed=1)
    limit = gradient(LogitMSE(), student, teacher)
    errors = [
        (gradient(made(objective, temperature=tau), student, teacher) - limit).norm().item()
        for tau in (100.0, 200.0, 400.0)
    ]
    assert errors[0] < 0.05 * limit.norm().item()
    for error, halved in itertools.pairwise(errors):
        assert halved == pytest.approx(error / 2, rel=0.1)


@pytest.mark.parametrize("objective", SOFTENED)
def test_temperature_squared_keeps_the_size_of_the_gradient(objective: type[DistillationObjective]) -> None:
    student, teacher = logits(4, 5), logits(1, 4, 5, seed=1)

    def size(temperature: float, squared: bool) -> float:
        tempered = made(objective, temperature=temperature, temperature_squared=squared)
        return float(gradient(tempered, student, teacher).norm())

    assert size(80.0, True) == pytest.approx(size(20.0, True), rel=0.15)
    assert size(80.0, False) == pytest.approx(size(20.0, False) / 16, rel=0.15)
    assert size(4.0, False) == pytest.approx(size(4.0, True) / 16)


def test_values_are_exact_where_float32_probabilities_underflow() -> None:
    teacher, student = torch.tensor([[[1e4, -1e4]]]), torch.tensor([[-1e4, 1e4]])
    for objective in (ForwardCrossEntropy(), ForwardKL(), ReverseKL(), SymmetricKL(), HardLabels()):
        assert loss(objective, student, teacher).item() == 2e4
    assert loss(Brier(), student, teacher).item() == 2
    assert loss(LogitMSE(), student, teacher).item() == pytest.approx(2e8)


@pytest.mark.parametrize("objective", ALL, ids=repr)
@pytest.mark.parametrize("scale", [1e4, 1e17])
def test_value_and_gradient_stay_finite_for_huge_float32_logits(objective: Objective, scale: float) -> None:
    teacher = scale * logits(3, 4, 5, seed=1).float()
    teacher[:, 0] = scale * torch.tensor([1.0, -1.0, 1.0, 0.0, 0.0])
    student = (scale * logits(4, 5).float()).requires_grad_()
    value = loss(objective, student, teacher, torch.tensor([0, 4, 2, 2]))
    (slope,) = torch.autograd.grad(value, student)
    assert value.isfinite().item() and slope.isfinite().all().item()


class NoHostSynchronisation(TorchDispatchMode):
    """Fails on the operations that read a tensor's values to decide something on the host."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "index.Tensor", "multinomial", "_unique2")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert not any(name in str(func) for name in self.FORBIDDEN), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_no_value_is_read_back_to_the_host(objective: Objective) -> None:
    student, teacher, labels = (
        logits(4, 5).requires_grad_(),
        logits(3, 4, 5, seed=1),
        torch.tensor([0, 4, 2, 2]),
    )
    with NoHostSynchronisation():  # type: ignore[no-untyped-call]
        torch.autograd.grad(loss(objective, student, teacher, labels), student)
