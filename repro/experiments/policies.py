"""The paper's augmentation policies (Appendix A), one per line."""

from typing import Literal, NamedTuple

from repro.data.augment_color import ColorJitter
from repro.data.augment_geometric import Rotation, VerticalFlip
from repro.data.augment_mixing import MixUp
from repro.data.augment_noise import UniformNoise
from repro.data.augmentation import Augmentation
from repro.experiments.cifar import BASELINE


class Policy(NamedTuple):
    augmentation: tuple[Augmentation, ...]
    temperature: float = 1.0
    out_of_distribution: bool = False  # add images of another data set
    generated: bool = False  # one fresh image of the generator to four real ones, labelled at temperature 1


PolicyName = Literal[
    "baseline",
    "baseline_tau4",
    "rotation",
    "vertical_flip",
    "color_jitter",
    "combined",
    "mixup",
    "mixup_tau4",
    "gan",
    "ood",
    "noise",
]

_ROTATION = Rotation(degrees=20.0)
_FLIP = VerticalFlip(p=0.5)
_JITTER = ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2)

POLICIES: dict[PolicyName, Policy] = {
    "baseline": Policy(BASELINE),
    "baseline_tau4": Policy(BASELINE, temperature=4.0),
    "rotation": Policy((*BASELINE, _ROTATION)),
    "vertical_flip": Policy((*BASELINE, _FLIP)),
    "color_jitter": Policy((*BASELINE, _JITTER)),
    "combined": Policy((*BASELINE, _ROTATION, _FLIP, _JITTER)),
    "mixup": Policy((*BASELINE, MixUp(alpha=1.0))),
    "mixup_tau4": Policy((*BASELINE, MixUp(alpha=1.0)), temperature=4.0),
    "gan": Policy(BASELINE, temperature=4.0, generated=True),
    "ood": Policy(BASELINE, out_of_distribution=True),
    "noise": Policy((*BASELINE, UniformNoise(p=0.2))),
}
