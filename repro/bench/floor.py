"""A lower bound on the time of a training step, from its FLOPs and bytes and the machine's measured peaks."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from repro.bench.timing import wait_for
from repro.config import StudentConfig
from repro.training.start import build_network

MATRIX = 2048
IMAGES, CHANNELS, SIDE = 16, 256, 32  # of a 3x3 convolution with about as many FLOPs as the matrix product
COPIED = 2**26  # float32 numbers: 256 MiB, larger than any cache
ON_A_GPU = 20  # products or copies in a row, as a single one takes hardly longer than launching it and waiting


def work_per_image(config: StudentConfig) -> tuple[float, float]:
    """FLOPs and bytes per image of a training step of the student, including the teachers' forward passes.

    FLOPs are those of matrix products and convolutions, where a multiplication and an addition count as two. Bytes are
    the float32 inputs and outputs of these layers, moved once in the forward pass and, for the student, twice in the
    backward pass; the operations between these layers could be fused.
    """
    flops, traffic = _forward(build_on_meta(config), config)
    of_teachers = [_forward(build_on_meta(teacher), config) for teacher in config.teachers]
    # The backward pass has two products of the size of the forward one: for the gradients of inputs and of weights.
    return 3 * flops + sum(flops for flops, _ in of_teachers), 3 * traffic + sum(traffic for _, traffic in of_teachers)


def build_on_meta(config: Any) -> nn.Module:
    with torch.device("meta"):
        return build_network(config).eval()


def _forward(network: nn.Module, config: StudentConfig) -> tuple[float, float]:
    moved = 0

    def count(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal moved
        moved += 4 * (inputs[0].numel() + output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *config.data.train.dataset.input_shape, device="meta"))
    return float(counter.get_total_flops()), float(moved)


def peaks(device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large float32 matrix product or convolution, and bytes/s (read and written) of a large copy.

    Best of five. Products and convolutions come from different libraries, either of which may be better optimised for
    the processor; the slower one would give a bound that networks exceed.
    """
    source = torch.zeros(COPIED, device=device)
    target = torch.empty_like(source)
    copying = _best(lambda: target.copy_(source), device)
    return max(_product_speed(device), _convolution_speed(device)), 2 * 4 * COPIED / copying


def _product_speed(device: torch.device) -> float:
    left, right = (torch.rand(MATRIX, MATRIX, device=device) for _ in range(2))
    return 2 * MATRIX**3 / _best(lambda: torch.mm(left, right), device)


@torch.no_grad()
def _convolution_speed(device: torch.device) -> float:
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False, device=device)
    images = torch.rand(IMAGES, CHANNELS, SIDE, SIDE, device=device)
    layer, images = layer.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    flops = 2 * IMAGES * SIDE**2 * CHANNELS**2 * 3**2
    return flops / _best(lambda: layer(images), device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of five tries."""
    times = ON_A_GPU if device.type == "cuda" else 1
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            work()
        wait_for(device)
        seconds.append((time.perf_counter() - start) / times)
    return min(seconds)


def floor_speed(config: StudentConfig, device: torch.device) -> dict[str, float]:
    """The images/s that no program that computes products and convolutions directly can exceed on this device, and the
    numbers from which they follow.

    The bound is the slower of arithmetic and memory traffic.
    """
    flops, moved = work_per_image(config)
    flops_per_second, bytes_per_second = peaks(device)
    return {
        "images_per_second": min(flops_per_second / flops, bytes_per_second / moved),
        "flops_per_image": flops,
        "bytes_per_image": moved,
        "flops_per_second": flops_per_second,
        "bytes_per_second": bytes_per_second,
    }
