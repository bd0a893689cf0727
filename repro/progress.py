"""What the user sees while runs are made: bars with an ETA on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Never

from tqdm import tqdm

SHOWN = (
    "train/loss",
    "train/generator_loss",
    "train/discriminator_loss",
    "test/accuracy",
    "test/agreement",
    "test/kl",
)


class Progress:
    """Is told of the progress of runs made one after another. This class shows nothing; its subclasses show it."""

    def say(self, line: str) -> None:
        """Show one line of text."""

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        """A run starts, or resumes at `done_steps`."""

    def step(self, count: int = 1) -> None:
        """`count` training steps were queued. Must be cheap."""

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float | None]) -> None:
        """An epoch with a row of metrics has ended."""

    def stop(self) -> None:
        """The run that was started is no longer being trained."""


class Lines(Progress):
    """Plain log lines on stderr, for files and pipes."""

    def __init__(self) -> None:
        self.title = ""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        self.title = title
        self.say(f"{title}: " + (f"continues at step {done_steps} of {total_steps}" if done_steps else "starts"))

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float | None]) -> None:
        self.say(f"{self.title}: epoch {epoch}/{epochs}  {summarize(metrics)}")


class Bars(Progress):
    """One bar per run on stderr, removed when the run ends. `position` is its line if several are shown at a time."""

    FORMAT = "{percentage:3.0f}%|{bar:8}| [{elapsed}<{remaining}{postfix}] {desc}"
    """The title comes last, because titles are long and what does not fit in the terminal is cut off at the right."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.bar: tqdm[Never] | None = None

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        self.bar = tqdm(
            total=total_steps,
            initial=done_steps,
            desc=title,
            bar_format=self.FORMAT,
            position=self.position,
            leave=False,
            dynamic_ncols=True,
        )

    def step(self, count: int = 1) -> None:
        if self.bar is not None:
            self.bar.update(count)

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float | None]) -> None:  # noqa: ARG002
        if self.bar is not None:
            self.bar.set_postfix_str(summarize(metrics), refresh=False)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Report(Progress):
    """Forwards every call to a process that shows it: `tell` gets the name and the arguments of the call."""

    SECONDS = 0.2
    """The interval at which steps are forwarded."""

    def __init__(self, tell: Callable[[str, list[Any]], None]) -> None:
        self.tell = tell
        self.steps = 0
        self.told = 0.0

    def say(self, line: str) -> None:
        self.tell("say", [line])

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        self.tell("start", [title, total_steps, done_steps])

    def step(self, count: int = 1) -> None:
        self.steps += count
        if time.monotonic() - self.told > self.SECONDS:
            self._tell_steps()

    def epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float | None]) -> None:
        self._tell_steps()
        self.tell("epoch", [epoch, epochs, dict(metrics)])

    def stop(self) -> None:
        self._tell_steps()
        self.tell("stop", [])

    def _tell_steps(self) -> None:
        if self.steps:
            self.tell("step", [self.steps])
        self.steps, self.told = 0, time.monotonic()


def for_this_output(position: int = 0) -> Progress:
    """Bars if stderr is a terminal, lines if not. `position` is the bar's line if several are shown at a time."""
    return Bars(position) if sys.stderr.isatty() else Lines()


def bar_of_runs(total: int) -> "tqdm[Never]":
    """A bar that counts runs, above the bars of those made side by side; hidden if stderr is not a terminal."""
    return tqdm(total=total, desc="runs", unit="run", leave=False, dynamic_ncols=True, disable=None)


def summarize(metrics: Mapping[str, float | None]) -> str:
    """The main metrics in one line: `loss 0.012  accuracy 85.1%  agreement 99.2%  kl 0.004`."""
    parts = []
    for key in SHOWN:
        value = metrics.get(key)
        if value is not None:
            name = key.partition("/")[2].replace("_", " ")
            parts.append(f"{name} {value:.1%}" if name in ("accuracy", "agreement") else f"{name} {value:.3g}")
    return "  ".join(parts)


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`"""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_brief(reasons: Mapping[str, str]) -> str:
    """`<run id>: reason; <run id>: reason; and 3 more`: the first five of the reasons."""
    lines = [f"{run_id}: {reason}" for run_id, reason in reasons.items()]
    return "; ".join(lines[:5] + ([f"and {len(lines) - 5} more"] if len(lines) > 5 else []))
