"""Is a distilled trunk as good a start on a new data set, and does the new teacher's loss help? (not in the paper)"""

from typing import Literal, NamedTuple

from repro.config import ClassifierConfig, DataConfig, Selection, StudentConfig
from repro.data.digits import Digits
from repro.data.prepared import EMNIST, MNIST
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.initialization import Initialization, Pretrained, Random
from repro.distill.objective import Objective
from repro.distill.supervised import LabelSmoothing
from repro.experiments.protocol import student, teacher
from repro.experiments.study import Preset, Study
from repro.models.lenet import LeNet5

SOFT_LABELS = ForwardCrossEntropy(temperature=1.0)
LOSSES: dict[str, Objective] = {"labels": LabelSmoothing(smoothing=0.0), "teacher": SOFT_LABELS}


class Protocol(NamedTuple):
    old: DataConfig  # what trunks are pretrained on
    new: Selection  # what the new data set's teacher learns from
    few: int  # how many of these images the students see
    old_epochs: int
    teacher_epochs: int
    epochs: int


def _of_letters(images: int) -> DataConfig:
    return DataConfig(train=Selection(dataset=EMNIST(letters=True), size=images), validation=5_000)


PRESETS: dict[Preset, Protocol] = {
    "paper": Protocol(_of_letters(100_000), Selection(dataset=MNIST()), 500, 30, 30, 300),
    "short": Protocol(_of_letters(20_000), Selection(dataset=MNIST(), size=10_000), 500, 10, 10, 100),
    "smoke": Protocol(
        DataConfig(train=Selection(dataset=Digits(), size=60, seed=1)),
        Selection(dataset=Digits(), size=100),
        50,
        1,
        1,
        2,
    ),
}


class Transfer(Study):
    """A trunk pretrained on letters and reused for digits, by labels or by a teacher (not in the paper).

    Question: a student need not match its teacher to be good. Are the features of a distilled network as good for
    another task as those of one trained on labels? And does the loss of the new task's teacher add to them?

    Conditions: `trunk`, all of a LeNet-5 except its classifier: `random`, taken from a network trained on EMNIST
    letters with labels (`supervised`), or taken from a student distilled from that network on the letters
    (`distilled`). `weights`: the trunk is `frozen`, so that only the classifier learns, or `fine_tuned` with it.
    `loss`: the true `labels`, or the new `teacher`'s soft labels without the true ones.

    Students see 500 MNIST images, stratified and the same in every condition. Their teacher, a LeNet-5 from random
    weights, learned with labels from 10,000 images (`paper`: all), which include these 500.

    Fidelity is to that teacher, which students of `labels` never saw. Temperature 1, no augmentation, batches of 64
    for students; everything else follows the protocol of the other LeNet-5 studies and is the same in every condition.
    All random weights of a trial are drawn separately: no student shares its start with the teacher, or with the
    network that its trunk comes from. Metrics on EMNIST are measured on held-out train images, as not every prepared
    EMNIST file has test images.
    """

    name: Literal["transfer"] = "transfer"
    trunk: Literal["random", "supervised", "distilled"] = "distilled"
    weights: Literal["frozen", "fine_tuned"] = "frozen"
    loss: Literal["labels", "teacher"] = "teacher"

    def config(self) -> StudentConfig:
        protocol = PRESETS[self.preset]
        seed = self.trial * 100
        new_teacher = teacher(data=protocol.new, model=LeNet5(), epochs=protocol.teacher_epochs, seed=seed)
        config = student(
            teachers=(new_teacher,),
            data=DataConfig(train=protocol.new.model_copy(update={"size": protocol.few})),
            model=LeNet5(),
            objective=LOSSES[self.loss],
            epochs=protocol.epochs,
            batch_size=64,
            seed=seed,
        )
        init: Initialization = (
            Random() if self.trunk == "random" else Pretrained(source=self._source(protocol, seed + 1))
        )
        return config.model_copy(update={"init": init, "frozen_trunk": self.weights == "frozen"})

    def _source(self, protocol: Protocol, seed: int) -> ClassifierConfig:
        old, epochs = protocol.old, protocol.old_epochs
        supervised = teacher(data=old.train, model=LeNet5(), epochs=epochs, seed=seed).model_copy(update={"data": old})
        if self.trunk == "supervised":
            return supervised
        return student(
            teachers=(supervised,), data=old, model=LeNet5(), objective=SOFT_LABELS, epochs=epochs, seed=seed
        )
