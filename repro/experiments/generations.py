"""Students as teachers: born-again networks and teacher assistants (not in the paper)."""

from typing import Literal

from repro.config import ClassifierConfig, DataConfig, Selection, StudentConfig
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.method_tries import Try
from repro.experiments.methods import PROTOCOLS, student_of, teacher_of
from repro.experiments.study import Study
from repro.models.lenet import LeNet5

CHAINS: dict[str, tuple[int, ...]] = {
    "born_again_1": (1, 1),
    "born_again_2": (1, 1, 1),
    "born_again_3": (1, 1, 1, 1),
    "direct": (4, 1),
    "assistant": (4, 2, 1),
}
"""The widths of the LeNet-5s: the first one is trained on labels, each later one is distilled from the one before."""


class Generations(Study):
    """Born-again generations and teacher assistants: students as teachers of students (not in the paper).

    Question: is fidelity lost from generation to generation (Furlanello et al. 2018, arXiv:1805.04770)? Does a network
    of intermediate size between a large teacher and a small student help (Mirzadeh et al. 2020, arXiv:1902.03393)?

    Conditions: `data` (digits, mnist) and `chain`: one to three generations of the same network (`born_again_1` to
    `born_again_3`), or a teacher four times as wide as its student, distilled directly (`direct`) or through a network
    twice as wide (`assistant`). Data, labels and training lengths are those of the study `methods`. Soft labels at
    temperature 1; every generation trains equally long. Metrics compare a network with the one it was distilled from.
    """

    name: Literal["generations"] = "generations"
    data: Literal["digits", "mnist"] = "digits"
    chain: Literal["born_again_1", "born_again_2", "born_again_3", "direct", "assistant"] = "born_again_1"

    def config(self) -> StudentConfig:
        protocol = PROTOCOLS[self.data, self.preset]
        images = DataConfig(train=Selection(dataset=protocol.dataset, size=protocol.images))
        setting = Try(ForwardCrossEntropy(temperature=1.0))
        seed = self.trial * 100
        first, *others = (LeNet5(width=width) for width in CHAINS[self.chain])
        youngest: ClassifierConfig = teacher_of(protocol, first, seed)
        for generation, model in enumerate(others, start=1):
            parents = (youngest,)
            youngest = student_of(protocol, parents, model, images, protocol.epochs, setting, seed + generation)
        assert isinstance(youngest, StudentConfig)
        return youngest
