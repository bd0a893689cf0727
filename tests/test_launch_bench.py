"""The launcher's own work keeps its bounds, in CPU seconds so that a busy machine does not matter."""

import time

import pytest

from repro.bench.launch import measure


@pytest.mark.slow
def test_two_thousand_runs_are_planned_and_submitted_in_ten_seconds_and_shown_in_two() -> None:
    report = measure(sizes=(200, 2_000), clock=time.process_time)
    small, large = report.numbers["seconds"]
    assert (small["runs"], large["runs"]) == (200, 2_000)
    assert large["plan"] + large["submit"] < 10
    assert large["status"] < 2
    assert "200" in report.text
