"""The hinge loss of generative adversarial networks (Miyato et al. 2018, arXiv:1802.05957, equations 16 and 17)."""

from torch import Tensor


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean(max(0, 1 - real)) + mean(max(0, 1 + fake)) over two sets of scores (n,)."""
    return (1.0 - real_scores).relu().mean() + (1.0 + fake_scores).relu().mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-mean(fake) over the discriminator's scores (n,) of generated images."""
    return -fake_scores.mean()
