"""Stratified subsets: their class counts against exact shares, nesting, disjoint halves, seeds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repro.data.selection import select, stratified_order


def labels_of_sizes(*sizes: int) -> Tensor:
    """Shuffled labels with `sizes[c]` examples of class c."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]


LABELS = {
    "balanced": labels_of_sizes(*[30] * 10),
    "like MNIST": labels_of_sizes(592, 674, 596, 613, 584, 542, 592, 627, 585, 595),
    "one large class, 99 of a single example": labels_of_sizes(900, *[1] * 99),
    "two to one": labels_of_sizes(20, 10),
    "one in a thousand": labels_of_sizes(1, 999),
    "a class without examples": labels_of_sizes(7, 0, 5),
    "geometric": labels_of_sizes(*(2**power for power in range(10))),
    "one class": labels_of_sizes(12),
}
every_kind_of_labels = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())


def chosen(labels: Tensor, seed: int = 0, **what: Any) -> list[int]:
    indices: list[int] = select(labels, seed=seed, **{"half": None, "size": None, "fraction": None, **what}).tolist()
    return indices


def deviation_from_share(labels: Tensor, indices: Tensor | list[int]) -> float:
    """By how many examples, at most, a class's count among `indices` differs from its share."""
    everything = np.bincount(labels.numpy())
    counts = np.bincount(labels.numpy()[indices], minlength=len(everything))
    return float(np.abs(counts - len(indices) * everything / len(labels)).max())


@every_kind_of_labels
@pytest.mark.parametrize("seed", [0, 1])
def test_every_prefix_is_stratified_to_within_one_example_per_class(labels: Tensor, seed: int) -> None:
    order = stratified_order(labels, seed)
    one_hot = np.eye(int(labels.max()) + 1)[labels[order].numpy()]
    shares = np.arange(1, len(labels) + 1)[:, None] * one_hot.mean(axis=0)
    assert np.abs(one_hot.cumsum(axis=0) - shares).max() < 1


def test_random_class_sizes_are_stratified_too() -> None:
    generator = np.random.default_rng(0)
    for seed in range(60):
        sizes = generator.integers(1, 10 ** generator.integers(1, 3, size=generator.integers(2, 30)))
        labels = labels_of_sizes(*sizes.tolist())
        one_hot = np.eye(len(sizes))[labels[stratified_order(labels, seed)].numpy()]
        shares = np.arange(1, len(labels) + 1)[:, None] * one_hot.mean(axis=0)
        assert np.abs(one_hot.cumsum(axis=0) - shares).max() < 1, sizes


@every_kind_of_labels
def test_an_order_holds_every_example_once(labels: Tensor) -> None:
    assert sorted(stratified_order(labels, 3).tolist()) == list(range(len(labels)))


def test_an_order_is_a_function_of_the_seed() -> None:
    labels = LABELS["like MNIST"]
    assert torch.equal(stratified_order(labels, 5), stratified_order(labels, 5))
    assert not torch.equal(stratified_order(labels, 5), stratified_order(labels, 6))


def test_no_class_and_no_example_is_preferred() -> None:
    # 5 of 10 classes with 4 examples each: any class is in with probability 1/2, any example with 1/8.
    labels = torch.arange(10).repeat(4)
    runs = 800
    indices = np.array([chosen(labels, seed=seed, size=5) for seed in range(runs)])
    by_class = np.bincount(indices.ravel() % 10, minlength=10)
    by_example = np.bincount(indices.ravel(), minlength=40)
    assert np.abs(by_class - runs / 2).max() < 5 * np.sqrt(runs / 4)
    assert np.abs(by_example - runs / 8).max() < 5 * np.sqrt(runs * 7 / 64)


def test_200_of_balanced_digits_are_20_of_each_class() -> None:
    labels = torch.arange(10).repeat_interleave(600)
    assert labels[chosen(labels, size=200)].bincount().tolist() == [20] * 10


def test_200_images_of_mnists_class_sizes_are_19_to_22_of_each_class() -> None:
    labels = LABELS["like MNIST"]  # shares from 18.07 to 22.47 of 200
    assert deviation_from_share(labels, chosen(labels, size=200)) < 1


@every_kind_of_labels
def test_growing_subsets_are_nested(labels: Tensor) -> None:
    smaller: set[int] = set()
    for size in sorted({1, len(labels) // 4, len(labels) // 2, len(labels)}):
        larger = set(chosen(labels, size=size))
        assert len(larger) == size
        assert smaller <= larger
        smaller = larger


@pytest.mark.parametrize(("fraction", "size"), [(0.25, 1500), (0.5, 3000), (1.0, 6000), (0.0001, 1)])
def test_a_fraction_is_the_subset_of_that_size(fraction: float, size: int) -> None:
    labels = LABELS["like MNIST"]
    assert chosen(labels, fraction=fraction) == chosen(labels, size=size)


@every_kind_of_labels
def test_halves_are_disjoint_complete_and_stratified(labels: Tensor) -> None:
    first, second = chosen(labels, half="D0"), chosen(labels, half="D1")
    assert sorted(first + second) == list(range(len(labels)))
    assert 0 <= len(second) - len(first) <= 1
    assert deviation_from_share(labels, first) < 1
    assert deviation_from_share(labels, second) < 1


def test_halves_of_a_subset_are_disjoint_stratified_and_make_it_up() -> None:
    labels = LABELS["like MNIST"]
    subset = chosen(labels, size=501)
    first, second = chosen(labels, half="D0", size=501), chosen(labels, half="D1", size=501)
    assert sorted(first + second) == subset
    assert (len(first), len(second)) == (250, 251)
    assert deviation_from_share(labels, first) < 1
    assert deviation_from_share(labels, second) < 2
    assert chosen(labels, half="D0", fraction=0.5) == chosen(labels, half="D0", size=3000)


def test_the_indices_ascend() -> None:
    indices = chosen(LABELS["like MNIST"], half="D1", size=100)
    assert indices == sorted(set(indices))


def test_without_options_every_example_is_chosen() -> None:
    assert chosen(LABELS["two to one"]) == list(range(30))


def test_different_seeds_choose_different_subsets_and_halves() -> None:
    labels = LABELS["like MNIST"]
    assert chosen(labels, seed=0, size=200) != chosen(labels, seed=1, size=200)
    assert chosen(labels, seed=0, half="D0") != chosen(labels, seed=1, half="D0")


@pytest.mark.parametrize(
    ("what", "asked", "there"),
    [
        ({"size": 31}, 31, 30),
        ({"half": "D0", "size": 31}, 31, 30),
        ({"fraction": 1.5}, 45, 30),
        ({"fraction": 0.01}, 0, 30),
    ],
)
def test_asking_for_more_than_there_is_or_for_nothing_is_refused(what: dict[str, Any], asked: int, there: int) -> None:
    with pytest.raises(ValueError, match=f"{asked} images asked for, {there} are there"):
        chosen(LABELS["two to one"], **what)


def test_half_of_one_image_is_one_half_or_refused() -> None:
    assert len(chosen(LABELS["two to one"], size=1, half="D1")) == 1
    with pytest.raises(ValueError, match="half D0 of 1 image is empty"):
        chosen(LABELS["two to one"], size=1, half="D0")
