"""Random draws that tests make, and judge."""

import torch

IMPLAUSIBLE = 1e-3
"""Every seed is fixed: a p-value below this is a wrong distribution, not bad luck."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
