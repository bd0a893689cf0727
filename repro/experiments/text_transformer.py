"""Does a bidirectional LSTM match a Transformer? (not in the paper)"""

from typing import Literal, NamedTuple

from repro.config import DataConfig, Selection, StudentConfig, TeacherConfig
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.initialization import Random
from repro.distill.logit_matching import LogitMSE
from repro.distill.objective import Objective
from repro.distill.supervised import CrossEntropy, LabelSmoothing
from repro.experiments.study import Preset, Study
from repro.experiments.text import PRESETS as STUDENTS
from repro.models.transformer import Transformer
from repro.optimization.optimizers import Adam
from repro.optimization.schedules import Cosine

OBJECTIVES: dict[str, Objective] = {
    "independent": LabelSmoothing(smoothing=0.0),
    "soft_labels": ForwardCrossEntropy(temperature=1.0),
    "logit_mse": LogitMSE(),
}


class TeacherProtocol(NamedTuple):
    model: Transformer
    epochs: int


TEACHERS: dict[Preset, TeacherProtocol] = {
    "paper": TeacherProtocol(Transformer(), 10),
    "short": TeacherProtocol(Transformer(), 2),
    "smoke": TeacherProtocol(Transformer(width=8, heads=2, layers=1, feedforward=16), 1),
}


class TextTransformer(Study):
    """A small Transformer distilled into a bidirectional LSTM, on film reviews (not in the paper).

    Question: fidelity was low between networks of one kind. How low is it between two that read a text in different
    ways, and does it help to match logits instead of probabilities?

    Conditions: `method`: `soft_labels` at temperature 1, squared distances of logits (`logit_mse`), or `independent`,
    a student trained on the true labels and compared with the teacher. The data, the student and its training are
    those of the study `text`. The teacher has 1.7 million parameters and learns from the same texts, with Adam at
    learning rate 1e-3 in batches of 100, for 10 epochs (`short`: 2).
    """

    name: Literal["text_transformer"] = "text_transformer"
    method: Literal["independent", "soft_labels", "logit_mse"] = "soft_labels"

    def config(self) -> StudentConfig:
        protocol, of_teacher = STUDENTS[self.preset], TEACHERS[self.preset]
        common = {
            "data": DataConfig(train=Selection(dataset=protocol.dataset, size=protocol.texts)),
            "init": Random(),
            "schedule": Cosine(final=1e-6),
            "batch_size": protocol.batch_size,
            "seed": self.trial,
        }
        teacher = TeacherConfig.model_validate(
            {
                **common,
                "model": of_teacher.model,
                "objective": CrossEntropy(),
                "optimizer": Adam(learning_rate=1e-3),
                "epochs": of_teacher.epochs,
                "evaluate_every": of_teacher.epochs,
            }
        )
        return StudentConfig.model_validate(
            {
                **common,
                "teachers": (teacher,),
                "model": protocol.model,
                "objective": OBJECTIVES[self.method],
                "optimizer": protocol.optimizer,
                "epochs": protocol.epochs,
                "evaluate_every": protocol.evaluate_every,
            }
        )
