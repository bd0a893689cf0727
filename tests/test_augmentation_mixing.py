"""MixUp and noise: what they compute, and the distribution of their draws."""

import numpy as np
import pytest
import scipy.stats
import torch
from draws import IMPLAUSIBLE, seeded

from repro.data.augment_mixing import MixUp, draw_symmetric_beta, mix
from repro.data.augment_noise import UniformNoise


def test_mix_of_a_worked_example() -> None:
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)
    output = mix(images, torch.tensor([1, 2, 0]), torch.tensor([0.75]))
    torch.testing.assert_close(output.flatten(), torch.tensor([0.125, 0.625, 0.75]))


def test_mixup_uses_one_weight_and_one_permutation_per_batch() -> None:
    """Image i is white at pixel i only, so the outputs are weight * identity + (1 - weight) * permutation."""
    batch, trials = 8, 1000
    images, generator = torch.eye(batch).view(batch, 1, 2, 4), seeded(0)
    weights, first_partners = [], []
    for _ in range(trials):
        rows = MixUp()(images, generator).view(batch, batch).double().numpy()
        kept = rows.diagonal()
        own_partner = kept > 1 - 1e-6
        if own_partner.all():
            continue
        weight = kept[~own_partner][0]
        permutation = (rows - weight * np.eye(batch)) / (1 - weight)
        np.testing.assert_allclose(permutation, permutation.round(), atol=1e-4)
        assert (permutation.round().sum(axis=0) == 1).all() and (permutation.round().sum(axis=1) == 1).all()
        weights.append(weight)
        first_partners.append(permutation[0].argmax())
    assert len(weights) > 0.99 * trials
    assert scipy.stats.kstest(weights, scipy.stats.uniform().cdf).pvalue > IMPLAUSIBLE
    assert scipy.stats.chisquare(np.bincount(first_partners, minlength=batch)).pvalue > IMPLAUSIBLE
    assert scipy.stats.pearsonr(weights[:-1], weights[1:]).pvalue > IMPLAUSIBLE


def test_mixup_leaves_a_batch_of_one() -> None:
    image = torch.rand(1, 3, 4, 4, generator=seeded(1))
    assert torch.equal(MixUp()(image, seeded(2)), image)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 30.0])
def test_symmetric_beta_follows_scipy_s_distribution(alpha: float) -> None:
    numbers = draw_symmetric_beta(100_000, alpha, seeded(3)).double().numpy()
    assert scipy.stats.kstest(numbers, scipy.stats.beta(alpha, alpha).cdf).pvalue > IMPLAUSIBLE
    assert scipy.stats.pearsonr(numbers[:-1], numbers[1:]).pvalue > IMPLAUSIBLE


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_symmetric_beta_follows_scipy_s_distribution_for_small_alpha(alpha: float) -> None:
    """By counts in bins: so much mass lies near 0 and 1 that float32 cannot tell the numbers apart."""
    edges = np.linspace(0, 1, 21)
    counts, _ = np.histogram(draw_symmetric_beta(100_000, alpha, seeded(4)).double().numpy(), edges)
    expected = np.diff(scipy.stats.beta(alpha, alpha).cdf(edges)) * 100_000
    assert scipy.stats.chisquare(counts, expected).pvalue > IMPLAUSIBLE


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e6])
def test_symmetric_beta_is_a_number_in_the_unit_range_for_extreme_alpha(alpha: float) -> None:
    numbers = draw_symmetric_beta(100_000, alpha, seeded(5))
    assert ((numbers >= 0) & (numbers <= 1)).all()
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_noise_replaces_whole_images_with_the_given_probability(p: float) -> None:
    images = torch.full((5000, 1, 2, 3), 0.25)
    changed = (UniformNoise(p=p)(images, seeded(6)) != images).flatten(1)
    replaced = changed.all(dim=1)
    assert torch.equal(changed.any(dim=1), replaced)
    assert scipy.stats.binomtest(int(replaced.sum()), 5000, p).pvalue > IMPLAUSIBLE
    both = int((replaced[::2] & replaced[1::2]).sum())
    assert scipy.stats.binomtest(both, 2500, p * p).pvalue > IMPLAUSIBLE


def test_noise_is_uniform_and_independent_over_pixels_channels_and_images() -> None:
    noise = UniformNoise(p=1.0)(torch.zeros(20, 3, 16, 16), seeded(7)).double()
    assert scipy.stats.kstest(noise.flatten().numpy(), scipy.stats.uniform().cdf).pvalue > IMPLAUSIBLE
    for one, other in (
        (noise[:, 0], noise[:, 1]),
        (noise[:-1], noise[1:]),
        (noise[:, :, 1:], noise[:, :, :-1]),
        (noise[..., 1:], noise[..., :-1]),
    ):
        assert scipy.stats.pearsonr(one.flatten().numpy(), other.flatten().numpy()).pvalue > IMPLAUSIBLE
