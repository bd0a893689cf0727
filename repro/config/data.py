"""The schema of what a run trains on: selections of data sets, unlabeled pools, streams, generated images."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from repro import data
from repro.component import Schema, choices, discover
from repro.data.dataset import Dataset
from repro.data.selection import Half

discover(data)

if TYPE_CHECKING:
    from repro.config.schema import GeneratorConfig

    AnyDataset: TypeAlias = Dataset
else:
    AnyDataset = choices(Dataset)


class Selection(Schema):
    """A part of a data set's training images; by default all of them.

    `size` (images) or `fraction` takes a stratified subset; `half` then takes one of its two disjoint stratified
    halves (Section 5.2: D0 and D1). Subsets with the same seed are nested. Of the images chosen so far, `classes` keeps
    those of the given classes, so that selections of disjoint classes partition the one without `classes`. The network
    still has an output for every class of the data set and is tested on images of all classes.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"classes"})

    dataset: AnyDataset
    half: Half | None = None
    size: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    seed: int = Field(default=0, ge=0)
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _some_of_the_classes(self) -> Self:
        if self.classes is not None:
            if list(self.classes) != sorted(set(self.classes)):
                raise ValueError(f"classes must be ascending, each named once, not {list(self.classes)}")
            if self.classes[-1] >= self.dataset.num_classes:
                raise ValueError(f"{self.dataset.name} has the classes 0 to {self.dataset.num_classes - 1}")
            if len(self.classes) == self.dataset.num_classes:
                raise ValueError(f"classes lists every class of {self.dataset.name}: leave it out")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size is not None and self.fraction is not None:
            raise ValueError("give size or fraction, not both")
        return self


class Stream(Schema):
    """Images without labels that are mixed into every batch of a student: see `repro/training/streams.py`."""

    share: float = Field(gt=0.0, lt=1.0)
    """The stream's share of a batch, rounded to whole images; the run's own images take the rest."""
    temperature: float | None = Field(default=None, gt=0.0, le=1e6)
    """tau of the objective on these images; None: the same as on the run's own images."""


class DatasetStream(Stream):
    """Images of a data set, augmented like the run's own."""

    name: Literal["dataset"] = "dataset"
    selection: Selection


class NoiseStream(Stream):
    """Noise: every channel of every pixel is drawn from U[0, 1] independently, anew at every step; not augmented."""

    name: Literal["noise"] = "noise"


class GeneratedStream(Stream):
    """Images from a finished generator, drawn anew at every step; not augmented.

    `batch_statistics` draws them with the generator in training mode, as the original code does.
    """

    name: Literal["generated"] = "generated"
    generator: "GeneratorConfig"
    batch_statistics: bool = False


AnyStream = Annotated[DatasetStream | NoiseStream | GeneratedStream, Field(discriminator="name")]


class GeneratedImages(Schema):
    """A fixed set of images from a finished generator: the first `images` of the sequence determined by `seed`.

    They are augmented like the run's own. `batch_statistics` is as in `GeneratedStream`.
    """

    generator: "GeneratorConfig"
    images: int = Field(ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    batch_statistics: bool = False


class DataConfig(Schema):
    """The images a run trains on. Its test images are the whole test split of `train.dataset`.

    `pools` add images whose labels are withheld, since a student does not need them; `generated` adds images that never
    had labels. All are shuffled together, and each is seen once per epoch. `streams` add a fixed number of further
    images to every batch.

    `validation` is for choosing hyperparameters: this many train images of `train.dataset` become the test images
    instead. They are the last ones in the order from whose start `train.size` takes its images. No selection may
    contain any of them: neither the run's own nor those of its teachers and of any other run it learns from.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"streams", "generated", "validation"})

    train: Selection
    pools: tuple[Selection, ...] = ()
    streams: tuple[AnyStream, ...] = ()
    generated: tuple[GeneratedImages, ...] = ()
    validation: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _same_shape(self) -> Self:
        own = self.train.dataset
        others = [selection.dataset for selection in self.selections[1:]]
        for other in (*others, *(generator.data.train.dataset for generator in self.generators)):
            if problem := own.mismatch(other):
                raise ValueError(problem)
        if own.input_kind != "images" and any(isinstance(stream, NoiseStream) for stream in self.streams):
            raise ValueError(f"a stream of noise needs a data set of images, and {own.name} has none")
        return self

    @property
    def datasets(self) -> frozenset[Dataset]:
        """Every data set that the run reads."""
        return frozenset(selection.dataset for selection in self.selections)

    @property
    def tested(self) -> int | None:
        """How many test images the run has; None if this is not known without reading them."""
        return self.train.dataset.test_size if self.validation is None else self.validation

    @property
    def selections(self) -> tuple[Selection, ...]:
        """Every part of a data set that is read: `train`, then the pools', then the streams'."""
        streamed = (stream.selection for stream in self.streams if isinstance(stream, DatasetStream))
        return (self.train, *self.pools, *streamed)

    @property
    def generators(self) -> tuple["GeneratorConfig", ...]:
        """The generators that make some of the images, without duplicates."""
        streamed = (stream.generator for stream in self.streams if isinstance(stream, GeneratedStream))
        return tuple(dict.fromkeys((*(images.generator for images in self.generated), *streamed)))
