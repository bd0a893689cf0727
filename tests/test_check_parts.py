"""Networks, objectives and augmentations of one's own that return something else are refused before a run is begun."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from runs import runner, small_student, small_teacher
from torch import Tensor, nn

from repro.config import StudentConfig, TeacherConfig
from repro.data.augment_geometric import HorizontalFlip
from repro.distill.companions import Companion
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.hidden import Shape
from repro.distill.hint import Hint
from repro.distill.logit_matching import LogitMSE
from repro.distill.merging import Classes
from repro.distill.mutual_learning import MutualLearning
from repro.distill.weighted_mean import WeightedMean
from repro.errors import BadInput
from repro.models.preresnet import PreResNet
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Linear
from repro.training.check_parts import check_parts


class Network(nn.Sequential):
    def __init__(self, outputs: int, stages: tuple[str, ...] | None = ("1",)) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, outputs))
        if stages is not None:
            self.stages = stages


class Several(Network):
    def __init__(self) -> None:
        super().__init__(10)
        self[1].register_forward_hook(lambda _module, _inputs, output: [output])

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self[1](self[0](inputs))[0]
        return logits


class InTraining(Network):
    def __init__(self, gives: Callable[[Tensor], object]) -> None:
        super().__init__(10)
        self.gives = gives

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self[1](self[0](inputs))
        return self.gives(logits) if self.training else logits  # type: ignore[return-value]


class Unused(Network):
    def __init__(self) -> None:
        super().__init__(10, stages=("1", "extra"))
        self.extra = nn.Linear(10, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self[1](self[0](inputs))
        return self.extra(logits) if self.training else logits


class Viewing(nn.Sequential):
    stages = ("0",)

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 6, 3), nn.Linear(6 * 6 * 6, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        maps: Tensor = self[0](inputs)
        logits: Tensor = self[1](maps.view(len(maps), -1))  # which needs channels first
        return logits


def fails(*_: object) -> Tensor:
    raise RuntimeError("no such kernel\nand so on")


def network(make: Callable[[], object]) -> TeacherConfig:
    class Own(PreResNet):
        def build(self, *_: object) -> nn.Module:  # type: ignore[override]
            return make()  # type: ignore[return-value]

    return small_teacher().model_copy(update={"model": Own(depth=8)})


def divergence(gives: Callable[[Tensor, Tensor], Tensor | None]) -> StudentConfig:
    class Own(ForwardCrossEntropy):
        def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
            return gives(log_p, log_q)  # type: ignore[return-value]

    return small_student().model_copy(update={"objective": Own()})


def distance(gives: Callable[[Tensor, Tensor], Tensor | None]) -> StudentConfig:
    class Own(LogitMSE):
        def distance(self, student_logits: Tensor, teacher_logits: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
            return gives(student_logits, teacher_logits)  # type: ignore[return-value]

    return small_student().model_copy(update={"objective": Own()})


def hidden(gives: Callable[[Tensor, Tensor], Tensor | None]) -> StudentConfig:
    class Own(Hint):
        def hidden_distance(
            self,
            student: Sequence[Tensor],
            teacher: Sequence[Tensor],
            modules: nn.ModuleList,  # noqa: ARG002
        ) -> Tensor:
            return gives(student[0], teacher[0])  # type: ignore[return-value]

    return small_student().model_copy(update={"objective": Own()})


def companions(makes: Callable[[], object], loss: Callable[[Tensor], object] = Tensor.mean) -> StudentConfig:
    class Own(MutualLearning):
        def companions(self, *_: object) -> nn.ModuleDict:
            return makes()  # type: ignore[return-value]

        def companion_loss(self, _: Tensor, companion_logits: Tensor, *__: object) -> Tensor:
            return loss(companion_logits)  # type: ignore[return-value]

    return small_student().model_copy(update={"objective": Own()})


class Exit(Companion):
    def __init__(self, gives: object) -> None:
        super().__init__()
        self.gives = gives

    def forward(self, inputs: Tensor, stages: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        assert stages["stage3"].shape[:2] == (3, 64)
        return self.gives  # type: ignore[return-value]


def merge(gives: Callable[[Tensor], Tensor | None]) -> StudentConfig:
    class Own(WeightedMean):
        def merge(self, member_logits: Tensor, known: Sequence[Classes]) -> Tensor:  # noqa: ARG002
            return gives(member_logits)  # type: ignore[return-value]

    teachers = (small_teacher(), small_teacher(seed=1))
    return small_student(teachers=teachers).model_copy(update={"merge": Own(weights=(0.5, 0.5))})


def augmentation(makes: Callable[[Tensor], Tensor | None]) -> TeacherConfig:
    class Own(HorizontalFlip):
        def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
            return makes(images)  # type: ignore[return-value]

    return small_teacher().model_copy(update={"augmentation": (Own(),)})


def optimizer(makes: Callable[[Iterable[nn.Parameter]], object]) -> TeacherConfig:
    class Own(SGD):
        def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return makes(parameters)  # type: ignore[return-value]

    return small_teacher().model_copy(update={"optimizer": Own(learning_rate=0.1)})


def schedule(gives: Callable[[float], object]) -> TeacherConfig:
    class Own(Linear):
        def decay(self, peak: float, progress: float) -> float:  # noqa: ARG002
            return gives(progress)  # type: ignore[return-value]

    return small_teacher().model_copy(update={"schedule": Own(), "epochs": 4})


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (optimizer(torch.optim.LBFGS), r"^optimizer sgd: TypeError: .*'closure' \(check_parts.py, line \d+\)$"),
        (optimizer(list), "^sgd: build gives list, not a torch Optimizer$"),
        (schedule(fails), r"^schedule linear: RuntimeError: no such kernel \(test_check_parts.py, line"),
        (schedule(lambda progress: 1 - 2 * progress), r"^linear: its learning rate in epoch 3 is -0\.5; it must be"),
        (
            network(lambda: Network(11)),
            r"preresnet: for one input it returns torch.float32 \(1, 11\), not .* \(1, 10\)",
        ),
        (network(lambda: Network(10, stages=None)), "Network does not name its stages"),
        (network(lambda: Network(10, stages=("boddy",))), "Network has no submodule 'boddy'"),
        (network(lambda: Network(10, stages="body")), r"Network: its stages are the text 'body'; .* \('body',\)"),  # type: ignore[arg-type]
        (network(lambda: Network(10, stages=nn.ModuleList())), "Network: its stages are a ModuleList, not a tuple of"),  # type: ignore[arg-type]
        (network(Unused), "preresnet: its stage 'extra' is not called when the network is evaluated"),
        (network(Viewing), r"^model preresnet, in training mode: .* Use .reshape\(...\) instead. \(test_check"),
        (
            network(lambda: Network(10).append(nn.LazyLinear(10))),
            "^model preresnet, in training mode: ValueError: Attempted to use an uninitialized parameter",
        ),
        (network(lambda: None), "preresnet: build gives NoneType, not an nn.Module"),
        (network(Several), "preresnet: its stage '1' gives list, not a tensor"),
        (
            network(lambda: Network(10).append(nn.ReLU(inplace=True))),
            "preresnet: what its stage '1' gives is changed in place by a later layer: set that layer's inplace=False",
        ),
        (
            network(lambda: Network(10).append(nn.Linear(9, 10))),
            r"^model preresnet, for inputs \(1, 8, 8\): RuntimeError: .* cannot be multiplied .* \(stages.py, line",
        ),
        (network(fails), r"inputs \(1, 8, 8\): RuntimeError: no such kernel \(test_check_parts.py, line \d+\)$"),
        (network(lambda: InTraining(lambda logits: [logits])), "model preresnet, in training mode, gives list for 3"),
        (network(lambda: InTraining(fails)), "^model preresnet, in training mode: RuntimeError: no such kernel"),
        (
            divergence(fails),
            r"^objective forward_cross_entropy: RuntimeError: no such kernel \(test_check_parts.py, line",
        ),
        (merge(fails), "^merge weighted_mean: RuntimeError: no such kernel"),
        (augmentation(fails), "^augmentation horizontal_flip: RuntimeError: no such kernel"),
        (divergence(lambda p, q: (p - q).abs()), r"divergence gives \(3, 10\) for 3 inputs, not .* \(3,\)"),
        (divergence(lambda *_: None), "divergence gives NoneType for 3 inputs"),
        (divergence(lambda p, _: p.sum(-1)), "distance has no gradient"),
        (divergence(lambda p, q: (p - q).sum(-1) * math.nan), "distance is nan for three made-up inputs"),
        (
            distance(lambda own, _: (own + torch.randn_like(own)).square().mean()),
            "logit_mse: equal generators give different losses: draw from `generator` alone",
        ),
        (distance(lambda own, other: (own - other[0]).sum(-1)), r"distance has the shape \(3,\)"),
        (distance(lambda *_: None), "logit_mse: distance is NoneType; it must be a tensor"),
        (hidden(lambda own, other: (own - other).square()), r"hint: hidden_distance has the shape \(3, \d+"),
        (hidden(lambda *_: None), "hint: hidden_distance is NoneType"),
        (hidden(lambda _, other: other.mean()), "hint: hidden_distance has no gradient"),
        (hidden(lambda own, _: own.mean() / 0), "hint: hidden_distance is -?inf"),
        (hidden(lambda own, _: own.view(len(own), -1).mean()), r"^objective hint: .* Use .reshape\(...\) instead."),
        (companions(lambda: []), "mutual_learning: companions gives list, not an nn.ModuleDict"),
        (companions(nn.ModuleDict), "mutual_learning: companions gives an empty one"),
        (
            companions(lambda: nn.ModuleDict({"exit": Exit(torch.ones(3, 9))})),
            r"companion 'exit' gives torch.float32 \(3, 9\) for 3 inputs, not logits \(3, 10\)",
        ),
        (companions(lambda: nn.ModuleDict({"exit": Exit(None)})), "companion 'exit' gives NoneType"),
        (
            companions(lambda: nn.ModuleDict({"exit": Exit(torch.ones(3, 10))}), loss=lambda logits: logits[0].sum(-1)),
            r"mutual_learning: companion_loss has the shape \(3,\)",
        ),
        (merge(lambda logits: logits), r"weighted_mean: merge gives torch.float32 \(2, 3, 10\) for 3 inputs"),
        (merge(lambda logits: logits.mean(0).argmax(-1)), r"merge gives torch.int64 \(3,\)"),
        (augmentation(lambda _: None), "horizontal_flip: .* it returns NoneType"),
        (augmentation(lambda images: images[:, :, :4]), r"it returns torch.float32 \(3, 1, 4, 8\)"),
        (augmentation(lambda images: images.double()), "it returns torch.float64"),
        (augmentation(lambda images: images - 2), "from 0 to 1 it returns values from -2 to -1"),
        (augmentation(lambda images: images - 0.5), r"from 0 to 1 it returns values from -0\.\d+ to 0\."),
        (augmentation(lambda images: images * 1.5), r"from 0 to 1 it returns values from 0\.\d+ to 1\."),
        (augmentation(torch.rand_like), "horizontal_flip: equal generators give different images: draw from `gen"),
        (
            augmentation(lambda images: 0.5 * (images + images.flip(0))),
            r"horizontal_flip: .* depends on the others .* it needs `mixes_images: ClassVar\[bool\] = True`",
        ),
    ],
)
def test_what_returns_something_else_is_refused(
    tmp_path: Path, config: TeacherConfig | StudentConfig, problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        runner(tmp_path).check([config])
    assert not list(tmp_path.iterdir())


def test_a_projector_that_cannot_learn_from_the_last_batch_is_refused() -> None:
    class Own(Hint):
        def modules(self, *_: object) -> nn.ModuleList:
            return nn.ModuleList([nn.Sequential(nn.Flatten(), nn.LazyBatchNorm1d(affine=False))])

        def hidden_distance(
            self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList
        ) -> Tensor:
            distance: Tensor = (modules[0](student[0]) - modules[0](teacher[0])).square().mean()
            return distance

    config = small_student(batch_size=20).model_copy(update={"objective": Own()})
    check_parts(config, smallest_batch=2)
    with pytest.raises(BadInput, match=r"^objective hint: ValueError: Expected more than 1 value per channel"):
        check_parts(config, smallest_batch=1)


@pytest.mark.parametrize(("given", "kind"), [([], "list"), (None, "NoneType")])
def test_modules_of_hidden_layers_that_are_no_module_list_are_refused(given: object, kind: str) -> None:
    class Own(Hint):
        def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:  # noqa: ARG002
            return given  # type: ignore[return-value]

    with pytest.raises(ValueError, match=f"^hint: modules gives {kind}, not an nn.ModuleList$"):
        Own().check_layers({"body": (4,)}, {"body": (4,)})


def test_images_may_pass_their_range_by_rounding(tmp_path: Path) -> None:
    runner(tmp_path).check([augmentation(lambda images: images.round() * (1 + 1e-6))])


def test_a_rule_that_merges_teachers_is_tried_although_its_other_parts_have_been(tmp_path: Path) -> None:
    config = merge(fails)
    with pytest.raises(BadInput, match=r"^merge weighted_mean: RuntimeError: no such kernel"):
        runner(tmp_path).check([config.model_copy(update={"merge": None}), config])
