"""Fidelity metrics against scipy, numpy loops and values worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from repro.metrics.fidelity import (
    agreement,
    agreement_per_example,
    evaluate_fidelity,
    kl_per_example,
    predictive_kl,
)


def draw_pair(examples: int = 57, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(examples, classes, generator=generator)
    return teacher, teacher + torch.randn(examples, classes, generator=generator)


def test_agreement_counts_equal_top_classes() -> None:
    teacher = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0], [1.0, 0.0, 0.5]])
    student = torch.tensor([[9.0, 1.0, 8.0], [0.0, 0.1, 0.2], [-3.0, -2.0, -1.0], [0.0, -1.0, 2.0]])
    assert agreement_per_example(student, teacher).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert agreement(student, teacher).item() == 0.5


def test_kl_of_a_hand_computed_pair() -> None:
    teacher = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    # 1/2 ln 2 - 1/4 ln 2
    assert predictive_kl(teacher, student).item() == pytest.approx(np.log(2) / 4, abs=1e-15)


def test_kl_is_from_teacher_to_student() -> None:
    teacher = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log()
    student = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    assert predictive_kl(teacher, student).item() == pytest.approx(entropy([0.9, 0.1], [0.5, 0.5]))
    assert predictive_kl(student, teacher).item() == pytest.approx(entropy([0.5, 0.5], [0.9, 0.1]))


def test_kl_matches_scipy_relative_entropy() -> None:
    teacher, student = draw_pair()
    p, q = (softmax(logits.double().numpy(), axis=1) for logits in (teacher, student))
    expected = entropy(p, q, axis=1)
    np.testing.assert_allclose(kl_per_example(teacher, student).numpy(), expected, rtol=1e-12)
    assert predictive_kl(teacher, student).item() == pytest.approx(expected.mean(), rel=1e-12)


def test_kl_is_exact_where_float32_and_float64_probabilities_underflow() -> None:
    teacher = torch.tensor([[2000.0, 0.0], [0.0, 200.0]])
    student = torch.tensor([[0.0, 2000.0], [200.0, 0.0]])
    assert student.softmax(dim=1).min().item() == 0.0  # through probabilities this would be infinite
    torch.testing.assert_close(kl_per_example(teacher, student), torch.tensor([2000.0, 200.0]).double())


def test_kl_is_finite_for_every_finite_float32() -> None:
    largest = torch.finfo(torch.float32).max
    teacher = torch.tensor([[largest, -largest], [0.0, largest]])
    student = torch.tensor([[-largest, largest], [largest, largest]])
    assert kl_per_example(teacher, student).isfinite().all()


def test_kl_of_equal_distributions_is_zero_whatever_the_offset_of_the_logits() -> None:
    teacher, _ = draw_pair()
    assert predictive_kl(teacher, teacher).item() == 0.0
    assert abs(predictive_kl(teacher, teacher + 16).item()) < 1e-10


def test_small_kl_is_resolved_below_float32_precision() -> None:
    """KL of nearly equal distributions is a difference of nearly equal numbers: float32 gives noise here."""
    teacher, _ = draw_pair(examples=20)
    student = teacher.clone()
    student[:, 0] += 1e-3
    probabilities = softmax(teacher.double().numpy(), axis=1)[:, 0]
    shift = (student - teacher).double().numpy()[:, 0]
    second_order = 0.5 * shift**2 * probabilities * (1 - probabilities)
    np.testing.assert_allclose(kl_per_example(teacher, student).numpy(), second_order, rtol=2e-3)


def test_means_weigh_every_example_equally_however_the_set_is_split() -> None:
    """Means of batch means let each image of a short last batch count many times."""
    teacher, student = draw_pair(examples=129)
    teacher[128], student[128] = torch.eye(7)[0] * 50, torch.eye(7)[1] * 50
    kl = torch.cat([kl_per_example(teacher[i : i + 128], student[i : i + 128]) for i in (0, 128)])
    assert predictive_kl(teacher, student).item() == pytest.approx(kl.numpy().sum() / 129, rel=1e-12)
    agree = torch.cat([agreement_per_example(student[i : i + 128], teacher[i : i + 128]) for i in (0, 128)])
    assert agreement(student, teacher).item() == pytest.approx(agree.numpy().sum() / 129, rel=1e-12)


def test_evaluate_fidelity_reports_agreement_and_kl_from_the_teacher() -> None:
    teacher, student = draw_pair()
    result = evaluate_fidelity(student, teacher)
    assert result.keys() == {"agreement", "kl"}
    p, q = (softmax(logits.double().numpy(), axis=1) for logits in (teacher, student))
    assert result["kl"].item() == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-12)
    expected_agreement = np.mean(p.argmax(axis=1) == q.argmax(axis=1))
    assert result["agreement"].item() == pytest.approx(expected_agreement)


def test_a_diverged_network_has_no_fidelity_rather_than_a_number() -> None:
    teacher, student = draw_pair()
    student[3, 2] = torch.nan
    assert agreement_per_example(student, teacher).isnan().nonzero().tolist() == [[3]]
    assert kl_per_example(teacher, student).isnan().nonzero().tolist() == [[3]]
    both = torch.full((5, 3), torch.nan)
    assert evaluate_fidelity(both, both)["agreement"].isnan()


def test_different_shapes_are_refused_naming_both() -> None:
    for metric in (agreement, agreement_per_example, predictive_kl, kl_per_example):
        with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 5\)|\(4, 5\).*\(4, 3\)"):
            metric(torch.zeros(4, 3), torch.zeros(4, 5))
        with pytest.raises(ValueError, match=r"\(1, 3\)"):  # would broadcast
            metric(torch.zeros(4, 3), torch.zeros(1, 3))


def test_logits_of_other_ranks_and_empty_sets_are_refused() -> None:
    for shape in ((0, 3), (3,), (2, 3, 4)):
        with pytest.raises(ValueError, match="num_classes"):
            evaluate_fidelity(torch.zeros(shape), torch.zeros(shape))


def test_fidelity_never_waits_for_the_device_nor_leaves_it() -> None:
    """On the meta device there are no values, so any read of one raises."""
    logits = torch.empty(8, 3, device="meta")
    for result in evaluate_fidelity(logits, logits).values():
        assert result.device.type == "meta" and result.shape == ()
