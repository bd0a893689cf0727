"""What a person sees while runs are made: by one process, and by one for others."""

import io
import os
import re
import sys
import termios

import pytest
from terminal import Terminal

from repro.progress import Bars, Lines, Report, for_this_output, in_brief


def told_of_a_run(report: Report, steps: int) -> None:
    report.start("a run", steps + 10, 10)
    for _ in range(steps):
        report.step()
    report.epoch(1, 2, {"test/accuracy": 0.5, "test/kl": None})
    report.say("news")
    report.stop()


def test_a_report_passes_on_every_step_in_few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[tuple[str, list[object]]] = []
    report = Report(lambda name, arguments: messages.append((name, arguments)))
    now = 1000.0

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    monkeypatch.setattr("repro.progress.time.monotonic", clock)
    told_of_a_run(report, steps=1001)
    counts = [arguments[0] for name, arguments in messages if name == "step"]
    assert sum(counts) == 1001  # type: ignore[arg-type]
    assert len(counts) <= 8  # a second of steps, five times a second
    others = [(name, arguments) for name, arguments in messages if name != "step"]
    assert others == [
        ("start", ["a run", 1011, 10]),
        ("epoch", [1, 2, {"test/accuracy": 0.5, "test/kl": None}]),
        ("say", ["news"]),
        ("stop", []),
    ]
    names = [name for name, _ in messages]
    assert names[names.index("epoch") - 1] == "step", "an epoch is shown after its steps"


def test_what_is_passed_on_looks_as_it_would_here(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    for way in ("here", "passed on"):
        monkeypatch.setattr(sys, "stderr", output := io.StringIO())
        lines = Lines()
        report = Report(lambda name, arguments, lines=lines: getattr(lines, name)(*arguments))  # type: ignore[misc]
        told_of_a_run(lines if way == "here" else report, steps=3)  # type: ignore[arg-type]
        shown[way] = output.getvalue()
    assert shown["passed on"] == shown["here"]
    assert shown["here"] == "a run: continues at step 10 of 13\na run: epoch 1/2  accuracy 50.0%\nnews\n"


def test_runs_at_a_time_have_a_bar_each_in_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    bars = [for_this_output(position) for position in (1, 2)]
    assert all(isinstance(bar, Bars) for bar in bars)
    for number, bar in enumerate(bars):
        bar.start(f"run {number}", 4, 1)
    bars[1].step(3)
    assert bars[1].bar is not None and (bars[1].bar.n, bars[1].bar.total) == (4, 4)  # type: ignore[attr-defined]
    for bar in bars:
        bar.stop()
    first, second = (screen.getvalue().index(f"run {number}") for number in (0, 1))
    assert screen.getvalue()[:first].count("\n") == 1
    assert screen.getvalue()[first:second].count("\n") == 2  # from the top line: tqdm goes back there
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(for_this_output(), Lines)


def test_a_bar_shows_the_time_left_and_the_metrics_however_long_its_title_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    ends = os.openpty()
    termios.tcsetwinsize(ends[1], (24, 80))
    monkeypatch.setattr(screen, "fileno", lambda: ends[1])
    title = "teacher of methods trial=0 data=cifar100 method=independent teacher=ensemble tuning=None (paper)"
    bar = for_this_output(position=2)
    bar.start(f"[100/115] {title}", 100, 50)
    bar.epoch(1, 2, {"train/loss": 0.0123, "test/accuracy": 0.851, "test/agreement": 0.992, "test/kl": 0.00412})
    assert isinstance(bar, Bars) and bar.bar is not None
    bar.bar.refresh()
    line = screen.getvalue().rpartition("\r")[2].partition("\x1b")[0]
    bar.stop()
    for end in ends:
        os.close(end)
    assert len(line) < 80
    metrics = "loss 0.0123  accuracy 85.1%  agreement 99.2%  kl 0.004"
    assert re.match(rf" 50%\|[█#]{{4}}    \| \[\d\d:\d\d<\?, {metrics}", line)


def test_of_many_reasons_the_first_five_are_given_and_the_others_are_counted() -> None:
    five = {f"run{number}": "it failed" for number in range(5)}
    assert in_brief(five) == "; ".join(f"run{number}: it failed" for number in range(5))
    assert in_brief(five | {"run5": "killed", "run6": "killed"}) == in_brief(five) + "; and 2 more"
