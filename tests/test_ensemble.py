"""The ensemble's logits against float64 and scipy, and the promise that teachers are only ever evaluated."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

from repro.distill.ensemble import Ensemble, ensemble_logits


def random_logits(*shape: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(*shape, generator=generator, dtype=dtype)


def test_two_members_give_the_log_of_the_mean_probability_computed_by_hand() -> None:
    members = torch.tensor([[[math.log(3), 0.0]], [[0.0, 0.0]]])  # (3/4, 1/4) and (1/2, 1/2)
    assert ensemble_logits(members).exp().tolist() == [pytest.approx([5 / 8, 3 / 8])]


def test_agrees_with_a_float64_mean_of_softmax() -> None:
    members = random_logits(5, 7, 10)
    expected = np.log(special.softmax(members.numpy(), axis=-1).mean(axis=0))
    np.testing.assert_allclose(ensemble_logits(members).numpy(), expected, rtol=1e-12)


def test_agrees_with_scipy_logsumexp_in_float32_at_large_logits() -> None:
    members = random_logits(4, 6, 10, scale=1000.0, dtype=torch.float32)
    log_softmax = special.log_softmax(members.double().numpy(), axis=-1)
    expected = special.logsumexp(log_softmax, axis=0, b=1 / 4)
    np.testing.assert_allclose(ensemble_logits(members).numpy(), expected, rtol=1e-5, atol=1e-3)


def test_one_member_keeps_its_probabilities() -> None:
    member = random_logits(1, 5, 10)
    np.testing.assert_allclose(
        ensemble_logits(member).numpy(),
        special.log_softmax(member[0].numpy(), axis=-1),
        rtol=1e-12,
        atol=1e-14,
    )


def test_stays_finite_where_the_mean_probability_underflows() -> None:
    members = torch.tensor([[[1e4, 0.0, -1e4]], [[1e4, -1e4, 0.0]]])
    assert torch.softmax(members, -1).mean(0).log().tolist() == [[0.0, -math.inf, -math.inf]]
    assert ensemble_logits(members).tolist() == [pytest.approx([0.0, -1e4 - math.log(2), -1e4 - math.log(2)])]


@pytest.mark.parametrize("shape", [(4, 3), (0, 4, 3)])
def test_refuses_logits_without_a_members_dimension(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="members"):
        ensemble_logits(torch.zeros(shape))


def batch_norm_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def dropout_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 64, 5))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_forward_stacks_the_logits_of_unlike_members_in_order(images: Tensor) -> None:
    members = [batch_norm_network(), dropout_network()]
    logits = Ensemble(members)(images)
    assert logits.shape == (2, 6, 5)
    for member, member_logits in zip(members, logits, strict=True):
        torch.testing.assert_close(member.eval()(images), member_logits)


def test_training_mode_changes_neither_outputs_nor_statistics(images: Tensor) -> None:
    ensemble = Ensemble([batch_norm_network().train(), dropout_network().train()])
    before, state = ensemble(images), {name: value.clone() for name, value in ensemble.state_dict().items()}
    surrounding = nn.ModuleDict({"teacher": ensemble, "student": nn.Linear(2, 2)})
    for switch in (ensemble.train, surrounding.train):
        switch()
        assert not any(module.training for module in ensemble.modules())
        torch.testing.assert_close(ensemble(images), before, rtol=0, atol=0)
    assert surrounding["student"].training
    for name, value in ensemble.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_no_gradient_reaches_the_members(images: Tensor) -> None:
    ensemble = Ensemble([batch_norm_network()])
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    assert not ensemble(images.requires_grad_()).requires_grad


def test_members_that_disagree_on_the_number_of_classes_are_refused(images: Tensor) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))
    with pytest.raises(ValueError, match=r"number of classes: \[5, 10\]"):
        Ensemble([dropout_network(), other])(images)


def test_an_ensemble_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])
