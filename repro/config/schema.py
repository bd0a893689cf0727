"""The schemas of a teacher, a student and a generator, and their parents."""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from torch import Tensor

from repro import distill, generative, models, optimization
from repro.component import Schema, choices, discover
from repro.config.data import DataConfig, GeneratedImages, GeneratedStream
from repro.config.errors import explain
from repro.config.identity import as_json, canonical_json
from repro.config.rules import check_schedule, check_student, check_training
from repro.data.augmentation import Augmentation
from repro.distill.hidden import Shape
from repro.distill.initialization import Initialization, Pretrained
from repro.distill.merging import Classes, Merge
from repro.distill.objective import Objective
from repro.generative.base import GenerativeModel
from repro.models.base import Model
from repro.models.stages import stage_shapes
from repro.optimization.optimizers import Optimizer
from repro.optimization.schedules import Schedule
from repro.seeds import stream_seed

for _package in (models, distill, generative, optimization):
    discover(_package)

if TYPE_CHECKING:
    AnyModel: TypeAlias = Model
    AnyGenerativeModel: TypeAlias = GenerativeModel
    AnyAugmentation: TypeAlias = Augmentation
    AnyObjective: TypeAlias = Objective
    AnyInitialization: TypeAlias = Initialization
    AnyMerge: TypeAlias = Merge
    AnyOptimizer: TypeAlias = Optimizer
    AnySchedule: TypeAlias = Schedule
else:
    AnyModel, AnyAugmentation = choices(Model), choices(Augmentation)
    AnyGenerativeModel = choices(GenerativeModel)
    AnyObjective, AnyInitialization, AnyMerge = choices(Objective), choices(Initialization), choices(Merge)
    AnyOptimizer, AnySchedule = choices(Optimizer), choices(Schedule)


PrecisionName: TypeAlias = Literal["float32", "tfloat32", "bfloat16"]


class BaseRunConfig(Schema):
    """The fields that every kind of run has."""

    kind: str
    data: DataConfig
    seed: int = Field(ge=0)

    @property
    def run_id(self) -> str:
        """12 hexadecimal digits: a hash of the full resolved config and the schema version."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:12]

    def parents(self) -> tuple["RunConfig", ...]:
        """The runs whose results this one needs."""
        return self.data.generators

    def stream_seed(self, *names: str | int) -> int:
        """The seed of one of the run's random streams.

        It depends on the kind of run, so that a teacher and a student with the same `seed` share no stream.
        Otherwise the student would start from its teacher's initial weights and see the images in its teacher's
        order, which still happens if the teacher is itself a student with the same seed.
        """
        return stream_seed(self.seed, self.kind, *names)


class TrainingConfig(BaseRunConfig):
    """The fields that teachers and students share. All of them can change a result, so all are hashed."""

    later_fields: ClassVar[frozenset[str]] = frozenset({"last_batch", "micro_batch_size", "frozen_trunk", "compiled"})

    augmentation: tuple[AnyAugmentation, ...] = ()
    model: AnyModel
    init: AnyInitialization
    objective: AnyObjective
    optimizer: AnyOptimizer
    schedule: AnySchedule
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1, le=10**9)
    """Images per training step, including those of streams."""
    last_batch: Literal["keep", "drop"] = "keep"
    """Whether an epoch's last batch is kept or dropped if it is not full."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """If given, a batch is computed as the sum over micro-batches of this size, on one process or shared among several;
    BatchNorm normalises each micro-batch separately. The result does not depend on the number of processes."""
    evaluate_every: int = Field(ge=1)
    """Epochs between rows of metrics; the last epoch always has one."""
    precision: PrecisionName = "float32"
    """The floating-point formats of a training step: see `repro.training.precision`."""
    compiled: bool = False
    """Run training steps through `torch.compile`: see `repro.training.compiled`."""
    frozen_trunk: bool = False
    """Train only the classifier and leave the rest as `init` set it: see `repro/training/start.py`."""

    def corrections(self) -> list[str]:
        found = super().corrections()
        if any(augmentation.mixes_images for augmentation in self.augmentation):
            found.append("the train sample of the metrics is mixed batch by batch, not with one weight for all")
        if self.micro_batch_size is not None:
            found.append("in a micro-batch, objective and dropout draw different numbers")
        return found

    @property
    def source(self) -> "ClassifierConfig | None":
        """The run whose trunk this one starts from."""
        return self.init.source if isinstance(self.init, Pretrained) else None

    def parents(self) -> tuple["RunConfig", ...]:
        return (*super().parents(), *((self.source,) if self.source is not None else ()))

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        check_training(self)
        return self

    @property
    def stage_shapes(self) -> Mapping[str, Shape]:
        """The output shape of each of the network's stages for one input, input side first."""
        dataset = self.data.train.dataset
        return stage_shapes(self.model, dataset.num_classes, dataset.input_shape)

    @property
    def stream_counts(self) -> tuple[int, ...]:
        """How many images of a full batch come from each stream: its share, rounded half up."""
        return tuple(math.floor(stream.share * self.batch_size + 0.5) for stream in self.data.streams)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objective for each part of a batch: for the run's own images, then for each stream's."""
        at = (stream.temperature for stream in self.data.streams)
        return (self.objective, *(self.objective if tau is None else self.objective.at_temperature(tau) for tau in at))


class TeacherConfig(TrainingConfig):
    """A network trained on labels alone."""

    kind: Literal["teacher"] = "teacher"

    @model_validator(mode="after")
    def _no_teacher(self) -> Self:
        if self.objective.needs_teacher:
            raise ValueError(f"a teacher cannot train with the objective {self.objective.name}, which needs a teacher")
        if self.init.needs_teacher:
            raise ValueError(f"a teacher cannot start from init {self.init.name}, which needs a teacher")
        return self


class StudentConfig(TrainingConfig):
    """A network trained to match its teachers. Several teachers form an ensemble (mean probability), or are merged."""

    later_fields: ClassVar[frozenset[str]] = TrainingConfig.later_fields | {"merge"}

    kind: Literal["student"] = "student"
    teachers: tuple["ClassifierConfig", ...] = Field(min_length=1)
    merge: AnyMerge | None = None

    def corrections(self) -> list[str]:
        found = super().corrections()
        if self.merge is not None and self.precision == "bfloat16":
            found.append("teachers are merged in float32")
        return found

    @property
    def known_classes(self) -> tuple[Classes, ...]:
        """The classes each teacher was trained on."""
        every = tuple(range(self.data.train.dataset.num_classes))
        return tuple(teacher.data.train.classes or every for teacher in self.teachers)

    @property
    def merging(self) -> Callable[[Tensor], Tensor] | None:
        """Merges all teachers' logits into those of one teacher; None for an ensemble."""
        return None if self.merge is None else functools.partial(self.merge.merge, known=self.known_classes)

    @model_validator(mode="after")
    def _student_fits(self) -> Self:
        check_student(self)
        return self

    def parents(self) -> tuple["RunConfig", ...]:
        return (*self.teachers, *super().parents())


class GeneratorConfig(BaseRunConfig):
    """A generator trained against a discriminator on images alone (`repro/generative`).

    An epoch is `steps_per_epoch` generator steps, each preceded by `discriminator_steps` discriminator steps on a batch
    of real and a batch of generated images. The optimizer and the schedule apply to both networks.
    """

    kind: Literal["generator"] = "generator"
    augmentation: tuple[AnyAugmentation, ...] = ()
    model: AnyGenerativeModel
    optimizer: AnyOptimizer
    schedule: AnySchedule
    epochs: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    discriminator_steps: int = Field(ge=1)
    batch_size: int = Field(ge=2, le=10**9)
    ema_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Keep an exponential moving average of the generator's weights over its steps; None keeps the last weights."""
    evaluate_every: int = Field(ge=1)
    """Epochs between rows of metrics and sample grids; the last epoch always has both."""
    precision: Literal["float32"] = "float32"

    @model_validator(mode="after")
    def _generator_fits(self) -> Self:
        dataset = self.data.train.dataset
        if dataset.input_kind != "images":
            raise ValueError(f"a generator makes images, {dataset.name} holds {dataset.input_kind}")
        if dataset.stays_in_files:
            raise ValueError(f"a generator needs its images in memory, {dataset.name} stays in files")
        if self.data.streams:
            raise ValueError("a generator trains on whole batches of its own images: give pools, not streams")
        if self.data.validation is not None:
            raise ValueError("a generator is tested on no images: leave data.validation out")
        check_schedule(self)
        return self


ClassifierConfig = Annotated[TeacherConfig | StudentConfig, Field(discriminator="kind")]
RunConfig = Annotated[TeacherConfig | StudentConfig | GeneratorConfig, Field(discriminator="kind")]
Pretrained.model_rebuild()  # like the schemas below, it refers to run configs, which are only defined here
for _schema in (GeneratedStream, GeneratedImages, DataConfig, TeacherConfig, StudentConfig, GeneratorConfig):
    _schema.model_rebuild()
_RUN: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)


def parse_config(content: Any) -> RunConfig:
    """Parse a run config from JSON-like data. Raises BadInput: one line with the key, what was given, what is valid."""
    try:
        return _RUN.validate_json(as_json(content))
    except ValidationError as error:
        raise explain(error, content, (TeacherConfig, StudentConfig, GeneratorConfig)) from error
