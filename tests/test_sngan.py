"""SN-GAN's networks and losses: published sizes, spectral norm against an SVD, the hinge by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from repro.errors import BadInput
from repro.generative.hinge import discriminator_loss, generator_loss
from repro.generative.sngan import SNGAN, DownBlock
from repro.models.base import count_parameters

TINY = SNGAN(latent_size=4, generator_width=6, discriminator_width=5)


def test_the_published_networks_have_the_published_sizes() -> None:
    model = SNGAN()
    assert model.latent_size == 128
    # Counted by hand: linear, three up-blocks (two norms, two 3x3, one 1x1), norm, 3x3 to RGB.
    block = 2 * 512 + 2 * (256 * 256 * 9 + 256) + (256 * 256 + 256)
    assert count_parameters(model.build_generator((3, 32, 32))) == (128 + 1) * 4096 + 3 * block + 512 + 256 * 27 + 3
    # First block, second block, two without shortcut, linear.
    square = 128 * 128 * 9 + 128
    first = (27 * 128 + 128) + square + (3 * 128 + 128)
    second = 2 * square + (128 * 128 + 128)
    assert count_parameters(model.build_discriminator((3, 32, 32))) == first + second + 4 * square + 129


@pytest.mark.parametrize(("size", "start"), [(8, 4), (28, 7), (32, 4), (64, 4)])
def test_images_of_the_size_asked_for_from_a_small_square(size: int, start: int) -> None:
    generator = TINY.build_generator((3, size, size))
    images = generator(torch.randn(2, 4))
    assert images.shape == (2, 3, size, size) and images.abs().max() <= 1.0
    assert generator.linear.out_features == 6 * start * start
    assert TINY.build_discriminator((3, size, size))(images).shape == (2,)


@pytest.mark.parametrize("shape", [(3, 25, 25), (3, 32, 28), (1, 4, 4), (1, 26, 26)])
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BadInput, match=f"not {shape[1]}x{shape[2]}"):
        TINY.build_generator(shape)


def test_every_weight_of_the_discriminator_is_divided_by_its_largest_singular_value() -> None:
    torch.manual_seed(0)
    discriminator = TINY.build_discriminator((3, 8, 8))
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 11
    for _ in range(200):  # every pass in training mode is one power iteration
        discriminator(torch.randn(1, 3, 8, 8))
    discriminator.eval()
    for layer in layers:
        original = layer.parametrizations.weight.original.detach().flatten(1).double().numpy()  # type: ignore[union-attr,operator]
        largest = np.linalg.svd(original, compute_uv=False)[0]
        np.testing.assert_allclose(layer.weight.detach().flatten(1).numpy(), original / largest, rtol=2e-3, atol=1e-6)


def test_only_the_discriminator_has_spectral_norm_and_all_weights_start_as_glorots_with_zero_bias() -> None:
    """U[-a, a] with a = gain * sqrt(6 / (fan in + fan out)); the gain is sqrt(2) for the two convolutions of a branch.

    Under spectral norm, the scale of a weight only changes the size of its steps.
    """
    torch.manual_seed(0)
    model = SNGAN()
    for network, count in ((model.build_generator((3, 32, 32)), 11), (model.build_discriminator((3, 32, 32)), 11)):
        layers = {n: layer for n, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
        assert len(layers) == count
        for name, layer in layers.items():
            normed = parametrize.is_parametrized(layer)
            assert normed == (network.__class__.__name__ == "DiscriminatorNetwork"), name
            weight = (layer.parametrizations.weight.original if normed else layer.weight).detach()  # type: ignore[union-attr,operator]
            fans = sum(weight.shape[:2]) * weight[0, 0].numel()
            scaled = weight / math.sqrt((2 if ".branch." in name else 1) * 6.0 / fans)
            assert scaled.abs().max() <= 1.0 + 1e-6, name
            # The variance of U[-1, 1] is 1/3, and that of its square 4/45.
            assert abs(scaled.square().mean().item() - 1 / 3) < 4 * math.sqrt(4 / 45 / scaled.numel()), name
            assert layer.bias is not None and not layer.bias.any(), name


def test_a_halving_block_is_the_mean_of_branch_and_shortcut_over_two_by_two_pixels() -> None:
    block = TINY.build_discriminator((3, 8, 8)).blocks[1].eval()
    assert isinstance(block, DownBlock)
    x = torch.randn(2, 5, 8, 8)
    whole = block.branch(x) + block.shortcut(x)  # as published: the shortcut's convolution first
    expected = whole.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(block(x), expected)


def convolved(layer: Any, x: Tensor) -> Tensor:
    """By a layer that keeps the resolution."""
    weight: Tensor = layer.weight
    return F.conv2d(x, weight, layer.bias, padding=weight.shape[-1] // 2)


@torch.no_grad()
def test_the_generator_equals_one_written_with_functions() -> None:
    torch.manual_seed(0)
    generator: Any = TINY.build_generator((3, 16, 16))
    generator(3.0 * torch.randn(20, 4) + 1.0)  # running statistics that matter
    generator.eval()
    latents = torch.randn(2, 4)

    def activated(norm: Any, x: Tensor) -> Tensor:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias).clamp(min=0)

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    x = (latents @ generator.linear.weight.T + generator.linear.bias).reshape(2, 6, 4, 4)
    for block in generator.blocks:
        norm1, _, _, conv1, norm2, _, conv2 = block.branch
        branch = convolved(conv2, activated(norm2, convolved(conv1, doubled(activated(norm1, x)))))
        x = branch + convolved(block.shortcut[1], doubled(x))
    norm, _, to_image, _ = generator.to_image
    torch.testing.assert_close(generator(latents), convolved(to_image, activated(norm, x)).tanh())


@torch.no_grad()
def test_the_discriminator_equals_one_written_with_functions() -> None:
    torch.manual_seed(0)
    discriminator: Any = TINY.build_discriminator((3, 16, 16)).eval()
    images = torch.rand(2, 3, 16, 16) * 2 - 1

    def halved(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return x.reshape(*x.shape[:2], half, 2, half, 2).mean(dim=(3, 5))

    x = images
    for number, block in enumerate(discriminator.blocks):
        _, conv1, _, conv2 = block.branch
        start = x if number == 0 else x.clamp(min=0)  # raw pixels are not rectified
        x, branch = x, convolved(conv2, convolved(conv1, start).clamp(min=0))
        x = halved(branch + convolved(block.shortcut, x)) if number < 2 else branch + x
    scores = x.clamp(min=0).sum(dim=(2, 3)) @ discriminator.linear.weight.T + discriminator.linear.bias
    torch.testing.assert_close(discriminator(images), scores.squeeze(1), rtol=1e-4, atol=1e-5)


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 0.25, 1.0])
    assert float(discriminator_loss(real, fake)) == pytest.approx((0.0 + 0.5 + 2.0) / 3 + (0.0 + 1.0 + 1.25 + 2.0) / 4)
    assert float(generator_loss(fake)) == pytest.approx(-(-3.0 + 0.0 + 0.25 + 1.0) / 4)
