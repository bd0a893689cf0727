"""Every distance between hidden layers against plain float64 code that shares nothing with it."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from repro.config import parse_config
from repro.distill.attention_transfer import AttentionTransfer
from repro.distill.contrastive import Contrastive
from repro.distill.correlation import Correlation
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.flow import Flow
from repro.distill.hidden import HiddenObjective
from repro.distill.hidden_cosine import HiddenCosine
from repro.distill.hint import Hint
from repro.distill.objective import Objective
from repro.distill.relational import Relational
from repro.distill.similarity import Similarity
from repro.errors import BadInput
from repro.models.lenet import LeNet5
from repro.models.lstm import LSTM
from repro.models.stages import stage_shapes

Floats = NDArray[np.float64]
BATCH = 5


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The student is narrower than the teacher; its second maps have twice the resolution.
STUDENT = [normal(BATCH, 3, 6, 6, seed=0), normal(BATCH, 4, 4, 4, seed=1)]
TEACHER = [normal(BATCH, 3, 6, 6, seed=2), normal(BATCH, 7, 2, 2, seed=3)]
SHAPES = [[tuple(layer.shape[1:]) for layer in layers] for layers in (STUDENT, TEACHER)]


def measured(objective: HiddenObjective, which: slice = slice(None)) -> tuple[float, nn.ModuleList]:
    """The distance of these layers, and the modules it was measured with."""
    torch.manual_seed(0)
    modules = objective.modules(SHAPES[0][which], SHAPES[1][which]).double()
    value = objective.hidden_distance(STUDENT[which], TEACHER[which], modules)
    return value.item(), modules


def linear(module: nn.Module, x: Floats) -> Floats:
    """A learned linear map over the first axis of x."""
    weight, bias = (parameter.detach().numpy() for parameter in module.parameters())
    mapped: Floats = np.tensordot(weight.reshape(len(bias), -1), x, axes=1) + bias.reshape(-1, *[1] * (x.ndim - 1))
    return mapped


def halved(maps: Floats) -> Floats:
    """(channels, 2 h, 2 w) -> (channels, h, w) by the mean of every 2x2 pixels."""
    return (maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]) / 4


LAST = slice(1, 2)
ours, theirs = STUDENT[1].numpy(), TEACHER[1].numpy()
own_vectors, other_vectors = ours.mean(axis=(2, 3)), theirs.mean(axis=(2, 3))


def test_hint_is_half_the_mean_squared_difference_after_a_learned_map() -> None:
    value, (regressor,) = measured(Hint(), LAST)
    halves = [0.5 * (linear(regressor, halved(s)) - t) ** 2 for s, t in zip(ours, theirs, strict=True)]
    assert value == pytest.approx(np.mean(halves))
    torch.manual_seed(0)
    (regressor,) = modules = Hint().modules([(4,)], [(7,)]).double()
    vectors = [torch.from_numpy(own_vectors)], [torch.from_numpy(other_vectors)]
    halves = [0.5 * (linear(regressor, s) - t) ** 2 for s, t in zip(own_vectors, other_vectors, strict=True)]
    assert Hint().hidden_distance(*vectors, modules).item() == pytest.approx(np.mean(halves))


def test_hidden_cosine_is_one_less_the_cosine_after_a_learned_map() -> None:
    value, (to_teacher,) = measured(HiddenCosine(), LAST)
    cosines = []
    for s, t in zip(own_vectors, other_vectors, strict=True):
        mapped = linear(to_teacher, s)
        cosines.append(mapped @ t / math.sqrt(mapped @ mapped) / math.sqrt(t @ t))
    assert value == pytest.approx(1 - np.mean(cosines))
    equal = HiddenCosine().modules([(4,)], [(4,)])
    assert not list(equal.parameters())
    assert HiddenCosine().hidden_distance([STUDENT[1]], [3 * STUDENT[1]], equal).item() == pytest.approx(0, abs=1e-12)


def test_attention_transfer_compares_normalised_maps_of_squared_activations() -> None:
    value, _ = measured(AttentionTransfer())
    total = 0.0
    for layer in (0, 1):
        squares = []
        for s, t in zip(STUDENT[layer].numpy(), TEACHER[layer].numpy(), strict=True):
            own, other = (s**2).mean(axis=0, keepdims=True), (t**2).mean(axis=0)
            own = halved(own)[0] if own.shape[1:] != other.shape else own[0]
            squares.append((own / math.sqrt((own**2).sum()) - other / math.sqrt((other**2).sum())) ** 2)
        total += float(np.mean(squares))
    assert value == pytest.approx(total)


def test_flow_compares_products_of_channels_averaged_over_pixels() -> None:
    value, (first, second) = measured(Flow())
    assert isinstance(first, nn.Identity) and not isinstance(second, nn.Identity)
    third = TEACHER[0].numpy().reshape(BATCH, 3, 2, 3, 2, 3).mean(axis=(3, 5))  # 6x6 -> 2x2
    squares = []
    for n in range(BATCH):
        f1, f2 = STUDENT[0].numpy()[n], linear(second, ours[n])  # 6x6 is pooled to 4x4: overlapping windows
        pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(f1), 4).numpy()
        own = np.einsum("ist,jst->ij", pooled, f2) / 16
        other = np.einsum("ist,jst->ij", third[n], theirs[n]) / 4
        squares.append((own - other) ** 2)
    assert value == pytest.approx(np.mean(squares))
    with pytest.raises(ValueError, match="two layers of feature maps"):
        Flow().modules(SHAPES[0][:1], SHAPES[1][:1])


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_relational_compares_distances_of_pairs_and_angles_of_triplets() -> None:
    value, _ = measured(Relational(angle_weight=3.0), LAST)

    def distance(vectors: Floats, i: int, j: int) -> float:
        mean = np.mean([np.linalg.norm(a - b) for x, a in enumerate(vectors) for y, b in enumerate(vectors) if x != y])
        return float(np.linalg.norm(vectors[i] - vectors[j]) / mean)

    def angle(vectors: Floats, i: int, j: int, k: int) -> float:
        e, f = vectors[i] - vectors[j], vectors[k] - vectors[j]
        lengths = np.linalg.norm(e) * np.linalg.norm(f)
        return float(e @ f / lengths) if lengths else 0.0

    pairs = [
        huber(distance(own_vectors, i, j) - distance(other_vectors, i, j)) for i, j in product(range(BATCH), repeat=2)
    ]
    triplets = [huber(angle(own_vectors, *ijk) - angle(other_vectors, *ijk)) for ijk in product(range(BATCH), repeat=3)]
    assert value == pytest.approx(np.mean(pairs) + 3 * np.mean(triplets))


def test_similarity_compares_rows_of_inner_products() -> None:
    value, _ = measured(Similarity(), LAST)
    matrices = []
    for layer in (ours, theirs):
        products = np.array([[(a * b).sum() for b in layer] for a in layer])
        matrices.append(products / np.linalg.norm(products, axis=1, keepdims=True))
    assert value == pytest.approx(((matrices[0] - matrices[1]) ** 2).sum() / BATCH**2)


def test_correlation_compares_gaussian_kernels() -> None:
    def kernel(vectors: Floats) -> Floats:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.array([[math.exp(-0.4 * ((a - b) ** 2).sum()) for b in unit] for a in unit])

    exact = ((kernel(own_vectors) - kernel(other_vectors)) ** 2).sum() / BATCH**2
    assert measured(Correlation(order=12), LAST)[0] == pytest.approx(exact, rel=1e-6)


def test_correlation_expands_the_kernel_to_the_papers_second_order() -> None:
    def kernel(vectors: Floats) -> Floats:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = unit @ unit.T
        expanded: Floats = math.exp(-0.8) * (1 + 0.8 * cosines + 0.32 * cosines**2)
        return expanded

    expected = ((kernel(own_vectors) - kernel(other_vectors)) ** 2).sum() / BATCH**2
    assert measured(Correlation(), LAST)[0] == pytest.approx(expected)


def test_contrastive_is_the_loss_of_telling_an_image_from_the_others_both_ways() -> None:
    value, (embed_own, embed_other) = measured(Contrastive(embedding=6, sharpness=0.5), LAST)
    own, other = ([linear(e, v) for v in vs] for e, vs in ((embed_own, own_vectors), (embed_other, other_vectors)))
    s = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) / 0.5 for b in other] for a in own])
    losses = [
        -math.log(math.exp(s[i, i]) / sum(math.exp(row[i, j]) for j in range(BATCH)))
        for row in (s, s.T)
        for i in range(BATCH)
    ]
    assert value == pytest.approx(np.mean(losses))


METHODS: dict[str, type[HiddenObjective]] = {
    name: method for name, method in Objective.registry.items() if issubclass(method, HiddenObjective)
}


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"attention_transfer", "flow"}))  # a sum; pairs of layers
def test_several_layers_count_as_the_mean_of_each(name: str) -> None:
    objective = METHODS[name].model_validate({})
    value, modules = measured(objective)
    each = len(modules) // 2
    alone = [
        objective.hidden_distance(STUDENT[i : i + 1], TEACHER[i : i + 1], modules[i * each : (i + 1) * each]).item()
        for i in range(2)
    ]
    assert value == pytest.approx(sum(alone) / 2) and alone[0] != pytest.approx(alone[1])


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_is_that_of_finite_differences_and_is_finite_for_equal_images(name: str) -> None:
    objective = METHODS[name].model_validate({})
    torch.manual_seed(0)
    modules = objective.modules(*SHAPES).double()
    student = [layer.clone().requires_grad_() for layer in STUDENT]
    assert torch.autograd.gradcheck(lambda *layers: objective.hidden_distance(layers, TEACHER, modules), student)
    same = [torch.zeros_like(layer).requires_grad_() for layer in STUDENT]
    objective.hidden_distance(same, [torch.zeros_like(layer) for layer in TEACHER], modules).backward()
    assert all(layer.grad is None or layer.grad.isfinite().all() for layer in same)


@pytest.mark.parametrize("name", METHODS)
def test_the_response_is_that_of_soft_labels(name: str) -> None:
    student, teacher = normal(4, 3, seed=0), normal(2, 4, 3, seed=1)
    arguments: dict[str, Any] = {
        "teacher_logits": teacher,
        "labels": None,
        "progress": 0.0,
        "generator": torch.Generator(),
    }
    expected = ForwardCrossEntropy(temperature=2.0).loss(student, **arguments)
    assert METHODS[name].model_validate({"temperature": 2.0}).loss(student, **arguments) == expected


LENET = {"name": "lenet5"}
WIDE = {"name": "lenet5", "width": 3}
RESNET = {"name": "preresnet", "depth": 8}


def student_config(
    objective: Mapping[str, object], model: Mapping[str, object], teacher: Mapping[str, object]
) -> object:
    run = {
        "kind": "student",
        "data": {"train": {"dataset": {"name": "digits"}, "size": 50}},
        "model": model,
        "init": {"name": "random"},
        "objective": objective,
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "schedule": {"name": "cosine"},
        "epochs": 1,
        "batch_size": 25,
        "evaluate_every": 1,
        "seed": 0,
    }
    teaches = run | {"kind": "teacher", "objective": {"name": "cross_entropy"}, "model": teacher}
    return parse_config(run | {"teachers": [teaches]})


@pytest.mark.parametrize("name", METHODS)
def test_networks_of_other_widths_and_depths_are_fine(name: str) -> None:
    for model, teacher in ((LENET, WIDE), (RESNET | {"depth": 14}, RESNET), (RESNET, LENET)):
        if METHODS[name].default_layers == "last" and not METHODS[name].maps_only and teacher == LENET:
            continue  # the last stage of one is maps, of the other a vector: below
        student_config({"name": name}, model, teacher)


@pytest.mark.parametrize(
    ("objective", "problem"),
    [
        (
            {"name": "hint", "layers": [["stage2", "stage4"]]},
            "the teacher has no stage 'stage4'; it has stage1",
        ),
        ({"name": "hint", "layers": [["hiden", "hidden"]]}, "the student has no stage 'hiden'"),
        ({"name": "hint", "layers": [["stage2", "hidden"]]}, "a map cannot be compared with a vector"),
        (
            {"name": "attention_transfer", "layers": [["hidden", "hidden"]]},
            "compares maps; the student's 'hidden'",
        ),
        ({"name": "flow", "layers": [["stage1", "stage1"]]}, "two layers of feature maps"),
        ({"name": "hint", "layers": []}, "at least 1 element"),
        ({"name": "hint", "weight": 0.0}, "greater than 0"),
    ],
)
def test_layers_that_do_not_fit_are_refused_when_the_config_is_read(objective: dict[str, object], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        student_config(objective, LENET, LENET)


def test_default_layers_are_counted_from_the_output() -> None:
    two = {"a": (3, 8, 8), "b": (4, 4, 4)}
    three = {"stem": (3, 8, 8), "one": (3, 8, 8), "two": (5, 4, 4)}
    assert AttentionTransfer().pairs(two, three) == [("a", "one"), ("b", "two")]
    assert AttentionTransfer().pairs(two | {"vector": (9,)}, three) == [("a", "one"), ("b", "two")]
    assert Similarity().pairs(two, three) == [("b", "two")]
    assert Hint().pairs(three, three) == [("one", "one")]
    assert Hint().pairs(two, {**three, "three": (5, 2, 2)}) == [("b", "two")]  # of an even number, the deeper one
    with pytest.raises(ValueError, match="have none in common"):
        Flow().pairs(two, {"encoder": (9,)})
    with pytest.raises(ValueError, match=r"the teacher's 'tokens' is \(7, 9\), neither maps .* nor a vector"):
        HiddenCosine().check_layers({"hidden": (7,)}, {"tokens": (7, 9)})


def test_stage_shapes_are_those_of_a_forward_pass_and_leave_the_random_stream_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shapes = stage_shapes(LeNet5(), 10, (1, 28, 28))
    assert shapes == {"stage1": (6, 14, 14), "stage2": (16, 5, 5), "hidden": (84,)}
    assert stage_shapes(LSTM(cell=5), 2, (7, 30)) == {"encoder": (10,)}
    assert torch.equal(torch.get_rng_state(), before)


def test_options_of_the_methods_are_checked() -> None:
    for method, wrong in (
        (Contrastive, {"sharpness": 0.0}),
        (Correlation, {"order": 0}),
        (Relational, {"angle_weight": -1.0}),
    ):
        with pytest.raises(ValidationError):
            method.model_validate(wrong)
