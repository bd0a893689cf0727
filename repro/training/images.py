"""The images one run trains on, put together from its data sets and kept on the device as uint8."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.config import DataConfig
from repro.data.dataset import Dataset, LabeledImages
from repro.data.selection import select
from repro.errors import BadInput

NO_LABEL = -1


@dataclass(frozen=True)
class TrainingImages:
    """Images uint8 (n, channels, height, width) and labels int64 (n,), NO_LABEL where the label is withheld."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


def assemble(config: DataConfig, datasets: Mapping[Dataset, LabeledImages], device: torch.device) -> TrainingImages:
    """The selected images of `train`, then those of each pool without labels. Raises BadInput as `select_all`."""
    train, *pools = (
        datasets[selection.dataset].train.subset(indices)
        for selection, indices in zip((config.train, *config.pools), select_all(config, datasets), strict=True)
    )
    labels = [train.labels, *(torch.full_like(pool.labels, NO_LABEL) for pool in pools)]
    images = torch.cat([train.images, *(pool.images for pool in pools)])
    return TrainingImages(images.to(device), torch.cat(labels).to(device))


def select_all(config: DataConfig, datasets: Mapping[Dataset, LabeledImages]) -> list[Tensor]:
    """Indices of the selected images of `train` and of each pool. Raises BadInput if a data set has too few."""
    chosen = []
    for selection in (config.train, *config.pools):
        try:
            chosen.append(
                select(
                    datasets[selection.dataset].train.labels,
                    half=selection.half,
                    size=selection.size,
                    fraction=selection.fraction,
                    seed=selection.seed,
                )
            )
        except ValueError as error:
            raise BadInput(f"data set {selection.dataset.name}: {error}") from error
    return chosen
