"""How every bench measures: contenders take turns, and what counts is their ratio within one run.

A machine's speed drifts (clock rates, other jobs), so contenders are never measured one after the other. Instead, each
round gives each of them one slice of time, and ratios are taken from slices of the same round.
"""

import contextlib
import math
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch

from repro.stop import handling, not_ignored

Work: TypeAlias = Callable[[float], int]
"""Works for about the given number of seconds and returns the number of images processed, all completed on return."""

WARM_UP = 0.2
"""Each slice is preceded by this share of its seconds, uncounted, to refill caches and prefetch queues."""


class Spread(NamedTuple):
    """A measured number: its median and range over the rounds."""

    median: float
    low: float
    high: float

    def text(self, digits: int, unit: str = "") -> str:
        """`3.1x (2.9-3.3)`, here with one digit and the unit x."""
        return f"{self.median:,.{digits}f}{unit} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Report:
    """The result of one bench: a text for people, and every number in it as JSON-like data."""

    text: str
    numbers: dict[str, Any]


def place(machine: Mapping[str, Any]) -> str:
    """Where a bench ran, in a few words, from `repro.training.hardware.describe`."""
    return machine["device"] if machine["device"] != "cpu" else f"{machine['processor']}, {machine['threads']} threads"


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def repeat(
    step: Callable[[], int],
    finish: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Work:
    """Work that calls `step`, which returns the number of images it processed, until the time is up.

    `finish`, called once after the last step, waits for what the steps have left to the device.
    """

    def work(seconds: float) -> int:
        end = clock() + seconds
        images = step()
        while clock() < end:
            images += step()
        finish()
        return images

    return work


def interleave(
    contenders: Mapping[str, Work], rounds: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Images/s of every contender in each round, from one slice of about `seconds` per contender and round."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            work(WARM_UP * seconds)
            start = clock()
            images = work(seconds)
            speeds[name].append(images / (clock() - start))
    return speeds


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM or SIGHUP ends the block like its last line, so that a bench reports what it has measured."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        handling(not_ignored(signal.SIGTERM, signal.SIGHUP), signal.default_int_handler),
    ):
        yield


def interleave_until_interrupted(
    contenders: Mapping[str, Work], rounds: int, seconds: float, what: str
) -> dict[str, list[float]]:
    """Like `interleave`, and prints each round on stderr, after `what` is measured. Ctrl-C, SIGTERM or SIGHUP ends it
    with the rounds that are complete."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    with until_interrupted():
        for number in range(rounds):
            latest = interleave(contenders, 1, seconds)
            for name, (speed,) in latest.items():
                speeds[name].append(speed)
            line = "; ".join(f"{name} {speed:,.0f}" for name, (speed,) in latest.items())
            note(f"{what}, round {number + 1} of {rounds}, images/s: {line}")
    complete = min(map(len, speeds.values()))
    return {name: values[:complete] for name, values in speeds.items()}


def note(line: str) -> None:
    """Print on stderr what is measured so far: all that is left of a bench that is killed."""
    print(line, file=sys.stderr, flush=True)


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum of `values`."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """The ratio of the medians, and the range of the ratios within rounds (which contains it).

    Both sequences hold one positive number per round, for the same rounds.
    """
    by_round = [above / below for above, below in zip(numerator, denominator, strict=True)]
    return Spread(statistics.median(numerator) / statistics.median(denominator), min(by_round), max(by_round))


class PairedRatio(NamedTuple):
    """The median of the ratios within pairs, and an interval for that median with its confidence."""

    median: float
    low: float
    high: float
    confidence: float

    def text(self, digits: int, unit: str = "") -> str:
        """`3.1x (2.9-3.3)`, here with one digit and the unit x."""
        return Spread(self.median, self.low, self.high).text(digits, unit)


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> PairedRatio:
    """The ratio within pairs that were measured close together in time, so that a drift of speed over minutes cancels.

    The interval is that of the sign test. It lies between two of the sorted ratios, equally many places from either
    end, and is the narrowest such interval that contains the median with at least 95 % confidence, whatever the ratios'
    distribution. For fewer than 6 pairs, it is the whole range of the ratios, with the confidence that this gives.
    """
    ratios = sorted(above / below for above, below in zip(numerator, denominator, strict=True))
    pairs = len(ratios)

    def misses(cut: int) -> float:
        """The probability that the median lies outside the interval if `cut` ratios are left out at either end."""
        return 2 * sum(math.comb(pairs, below) for below in range(cut + 1)) / float(2**pairs)

    cut = max((one for one in range((pairs - 1) // 2 + 1) if misses(one) <= 1 - 0.95), default=0)
    return PairedRatio(statistics.median(ratios), ratios[cut], ratios[pairs - 1 - cut], 1 - min(1.0, misses(cut)))
