"""Figures 6b and 6c: how close to its teacher must a student start to end there?"""

from typing import ClassVar, Literal

from pydantic import Field

from repro.config import StudentConfig
from repro.distill.initialization import Interpolated
from repro.experiments.cifar import network, student, teachers
from repro.experiments.study import Study

LEARNING_RATE, FLOOR = 5e-2, 1e-6


class InitInterpolation(Study):
    """Students started between a random network and their trained teacher, LayerNorm ResNet-20 (Figures 6b, 6c).

    Question: a perfect solution exists, the teacher's own weights. From how far away does SGD find its basin?

    Conditions: `weight`, the *teacher's* weight lambda in theta = lambda theta_teacher + (1 - lambda) theta_random
    (0, 0.125, 0.25, 0.375, 0.5, 0.75, 1), and `learning_rate`: `constant` for every lambda, as the paper says, or
    `scaled` by the random network's weight 1 - lambda, as in the original code. Scaling also makes a student that
    starts near its teacher move less, a second explanation of the same effect; these two conditions separate the two.
    Baseline augmentation. To draw Figure 6c from finished runs, use `repro surface init_interpolation weight=W` (W = 0,
    0.25, 0.375 in the paper).

    Our choices where the paper is silent: temperature 1; LayerNorm is over all channels and pixels of an image
    (`repro/models/preresnet.py`), as in the study `optimizer`.

    The paper found: with lambda <= 0.25 training ends in a poor optimum (about 80 % train agreement); with
    lambda >= 0.375 agreement jumps to almost 100 %.
    """

    name: Literal["init_interpolation"] = "init_interpolation"
    weight: float = Field(default=0.0, ge=0.0, le=1.0)
    learning_rate: Literal["constant", "scaled"] = "constant"
    figures: ClassVar[str] = "6b, 6c"

    def config(self) -> StudentConfig:
        model = network(self.preset, 20, norm="layer")
        config = student(self.preset, self.trial, teachers=teachers(self.preset, self.trial, 1, model), model=model)
        rate = LEARNING_RATE if self.learning_rate == "constant" else max(FLOOR, (1.0 - self.weight) * LEARNING_RATE)
        optimizer = config.optimizer.model_copy(update={"learning_rate": rate})
        # LayerNorm has no running statistics, so nothing has to be re-estimated.
        init = Interpolated(weight=self.weight, endpoint="final", batch_norm="kept")
        return config.model_copy(update={"init": init, "optimizer": optimizer})
