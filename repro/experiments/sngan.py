"""Figure 7: the generator whose images the studies with GAN images distil on."""

from typing import ClassVar, Literal

from repro.config import GeneratorConfig
from repro.experiments.cifar import generator
from repro.experiments.study import Study


class SNGANStudy(Study):
    """The SN-GAN on CIFAR-100 whose images augment the distillation data (Figure 7).

    Question: what do the generated images look like that the studies of Figures 1, 3, 5 and 11 add?

    Conditions: none; `trial` is the seed. The studies use the generator of trial 0 for all their trials. Its record
    holds a grid of samples (`samples.png`); `repro sample-quality RUN` measures FID and inception score.

    The paper found: FID 74.26 and inception score 6.60 from 5,000 samples. Our FID is not comparable: the original
    code computes it on class logits, while ours is on pool features, as FID was published.
    """

    name: Literal["sngan"] = "sngan"
    figures: ClassVar[str] = "7"

    def config(self) -> GeneratorConfig:
        return generator(self.preset, self.trial)
