"""The base of objectives that compare hidden layers of student and teacher in addition to their logits."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.divergences import DivergenceObjective, cross_entropy

Shape: TypeAlias = tuple[int, ...]
"""The shape of a layer's output for one input: maps (channels, height, width), or a vector (features,)."""
LayerPair: TypeAlias = tuple[str, str]
"""A stage of the student and the stage of the teacher that it is compared with."""


class HiddenObjective(DivergenceObjective):
    """eq. 1 with soft labels + weight * a distance between hidden layers, from the paper that the subclass names.

    With several teachers the distance is computed for each and averaged. The engine passes the layers' outputs, trains
    `modules` with the student (same optimizer) and keeps them in the checkpoint. They are not part of the student, its
    weights or its parameter count.
    """

    default_layers: ClassVar[Literal["all", "middle", "last"]]
    """Which stages are paired if `layers` is not given: all that both networks have, counted from the output; the
    middle one; the last one."""
    maps_only: ClassVar[bool] = False
    """Whether only feature maps can be compared, so that vectors are skipped."""

    weight: float = Field(gt=0.0)
    layers: tuple[LayerPair, ...] | None = Field(default=None, min_length=1)
    """Pairs of stages, the student's first; None: see `default_layers`."""

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return cross_entropy(log_p, log_q)

    @abstractmethod
    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        """The distance as a scalar, the mean over the batch, without `weight`.

        student, teacher: the outputs (batch, *shape) of each pair of layers; the teacher's without gradient.
        modules: what `modules` returned for this teacher.
        """

    def weight_at(self, progress: float) -> float:  # noqa: ARG002
        """The weight once the fraction `progress` of training is done, in [0, 1); by default always `weight`."""
        return self.weight

    def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:  # noqa: ARG002
        """The modules trained with the student, for one teacher's pairs of layers; by default none.

        Raises ValueError if layers of these shapes cannot be compared.
        """
        return nn.ModuleList()

    def pairs(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> list[LayerPair]:
        """The pairs of layers to compare, given every stage of both networks, input side first.

        Raises ValueError if the networks do not have the stages in `layers`, or none that can be compared.
        """
        if self.layers is not None:
            for own, other in self.layers:
                self._check_stage("student", own, student)
                self._check_stage("teacher", other, teacher)
            return list(self.layers)
        ours, theirs = (
            [name for name, shape in stages.items() if len(shape) == 3 or not self.maps_only]
            for stages in (student, teacher)
        )
        if not ours or not theirs:
            raise ValueError(f"{self.name} compares feature maps, and the networks have none in common")
        if self.default_layers == "middle":
            return [(ours[len(ours) // 2], theirs[len(theirs) // 2])]
        pairs = list(zip(reversed(ours), reversed(theirs), strict=False))[::-1]
        if self.default_layers == "all":
            return pairs
        if self.default_layers == "last":
            return pairs[-1:]
        raise ValueError(f"{self.name}: default_layers is '{self.default_layers}'; valid: all, middle, last")

    def _check_stage(self, owner: str, name: str, stages: Mapping[str, Shape]) -> None:
        if name not in stages:
            raise ValueError(f"layers: the {owner} has no stage '{name}'; it has {', '.join(stages)}")
        if self.maps_only and len(stages[name]) != 3:
            raise ValueError(f"layers: {self.name} compares maps; the {owner}'s '{name}' is a vector")

    def modules_of(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> nn.ModuleList:
        """`modules`, given every stage of both networks."""
        pairs = self.pairs(student, teacher)
        for own, other in pairs:
            check_map_or_vector(f"student's '{own}'", student[own])
            check_map_or_vector(f"teacher's '{other}'", teacher[other])
        modules = self.modules([student[name] for name, _ in pairs], [teacher[name] for _, name in pairs])
        if not isinstance(modules, nn.ModuleList):
            raise ValueError(f"{self.name}: modules gives {type(modules).__name__}, not an nn.ModuleList")
        return modules

    def check_layers(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> None:
        """Raise ValueError if these networks' layers cannot be compared."""
        with torch.device("meta"):
            self.modules_of(student, teacher)


def check_map_or_vector(layer: str, shape: Shape) -> None:
    """Raise ValueError unless a layer's output is a map or a vector; a sequence of vectors, for example, is neither."""
    if len(shape) not in (1, 3):
        raise ValueError(f"layers: the {layer} is {shape}, neither maps (channels, height, width) nor a vector")


def as_vectors(features: Tensor) -> Tensor:
    """(batch, features): maps are averaged over their pixels, vectors stay as they are."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def vector_size(shape: Shape) -> int:
    """How many features `as_vectors` returns for a layer."""
    return shape[0]


def to_same_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller of the two resolutions, by average pooling."""
    size = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    pooled = [maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size) for maps in (one, other)]
    return pooled[0], pooled[1]


def regressor(student: Shape, teacher: Shape) -> nn.Module:
    """A linear map from the student's features to as many as the teacher has; for maps, a 1x1 convolution.

    Raises ValueError if one layer is a map and the other a vector.
    """
    if len(student) != len(teacher):
        raise ValueError(f"layers: a map cannot be compared with a vector, as in shapes {student} and {teacher}")
    if len(student) == 3:
        return nn.Conv2d(student[0], teacher[0], kernel_size=1)
    return nn.Linear(student[0], teacher[0])
