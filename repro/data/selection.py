"""Select the training images that a run sees: seeded, stratified subsets and disjoint halves."""

import heapq
from typing import Literal

import torch
from torch import Tensor

from repro.seeds import stream_seed

Half = Literal["D0", "D1"]


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of the examples (int64 indices) in which every prefix is stratified.

    Among the first k examples, each class has its share of k to within less than one example. Hence subsets of
    growing size are nested, and cutting the order in two gives two stratified halves. `labels` is int64 (n,),
    none below 0.

    This holds if and only if the j-th of a class's m examples (from 0) is at one of the places floor(j n / m) to
    ceil((j + 1) n / m) - 1. Filling each place with the allowed example whose last allowed place comes first satisfies
    all of these conditions (Tijdeman 1980, "The chairman assignment problem", 10.1016/0012-365X(80)90269-1).
    """
    total = len(labels)
    shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    shuffled_labels = labels[shuffled]
    class_sizes = shuffled_labels.bincount()
    members = shuffled_labels.argsort(stable=True)
    rank = torch.empty_like(shuffled)
    rank[members] = torch.arange(total) - (class_sizes.cumsum(0) - class_sizes).repeat_interleave(class_sizes)
    size = class_sizes[shuffled_labels]
    first_place = rank * total // size
    end_place = -(-(rank + 1) * total // size)

    # One number that sorts by end place, then by shuffled position, and from which the position can be read back.
    urgency = end_place * total + torch.arange(total)
    by_first_place = first_place.argsort()
    arrivals = zip(first_place[by_first_place].tolist(), urgency[by_first_place].tolist(), strict=True)
    upcoming = next(arrivals, None)
    candidates: list[int] = []
    positions = []
    for place in range(total):
        while upcoming is not None and upcoming[0] <= place:
            heapq.heappush(candidates, upcoming[1])
            upcoming = next(arrivals, None)
        positions.append(heapq.heappop(candidates) % total)
    return shuffled[torch.tensor(positions, dtype=torch.int64)]


def select(labels: Tensor, *, half: Half | None, size: int | None, fraction: float | None, seed: int) -> Tensor:
    """Ascending int64 indices of the chosen examples among those with `labels` (n,).

    `size` (examples) or `fraction` (of all) keeps a stratified subset; `half` then keeps one of its two disjoint
    stratified halves, D0 being the smaller if the number is odd. Raises ValueError if the selection is empty or larger
    than the data set.
    """
    order = stratified_order(labels, stream_seed(seed, "selection"))
    count = len(order)
    if size is not None:
        count = size
    elif fraction is not None:
        count = round(fraction * len(order))
    if not 0 < count <= len(order):
        raise ValueError(f"{count} images asked for, {len(order)} are there")
    chosen = order[:count]
    if half is not None:
        chosen = chosen[: count // 2] if half == "D0" else chosen[count // 2 :]
        if len(chosen) == 0:
            raise ValueError(f"half {half} of {count} image is empty")
    return chosen.sort().values
