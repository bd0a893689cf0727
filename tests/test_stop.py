"""Requests to stop: signals that are noted, a second Ctrl-C that interrupts, and commands that are sent them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import PATIENCE, Process

from repro.cli import main
from repro.launch.sweep import find_sweep, read_sweep
from repro.stop import StopRequest
from repro.store import Store


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR2"])
def test_a_signal_is_a_request_while_listened_to_and_no_longer(name: str) -> None:
    number, heard = signal.Signals[name], list[int]()
    before = signal.signal(number, lambda number, _: heard.append(number))
    try:
        stop = StopRequest()
        with pytest.raises(ZeroDivisionError), stop.listening():
            signal.raise_signal(number)
            assert stop.signal == name
            _ = 1 / 0
        assert heard == []
        signal.raise_signal(number)
        assert heard == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_only_ctrl_c_after_a_request_interrupts_at_once(first: signal.Signals) -> None:
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "digits", "images=100", "trial=0"],
        ["launch", str(find_sweep("digits")), "images=100", "trial=0"],
    ],
)
def test_a_command_that_is_told_to_stop_saves_its_run_and_the_same_command_goes_on(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command += ["preset=smoke", "teachers.epochs=100000", "teachers.evaluate_every=100000", "--runs", str(tmp_path)]
    settings = {"preset": "smoke", "trial": 0, "images": 100, "teachers.epochs": 100_000}
    (student,) = read_sweep(find_sweep("digits"), settings | {"teachers.evaluate_every": 100_000})
    teacher, log = Store(tmp_path).run(student.parent_ids[0]), ""

    def stopped_at(number: signal.Signals) -> tuple[int, str]:
        """Exit code and the last line of the command, which gets the signal once it trains."""
        known = log
        process = Process(lambda _: os._exit(main(command)))
        wait_until(lambda: "at step" in read(teacher.path / "run.log").removeprefix(known))
        assert process.process.pid is not None
        os.kill(process.process.pid, number)
        process.process.join(PATIENCE)
        code = process.process.exitcode
        assert code is not None
        return code, capfd.readouterr().err.splitlines()[-1]

    for attempt, number in enumerate((signal.SIGINT, signal.SIGTERM)):
        code, said = stopped_at(number)
        assert code == 1
        assert f"repro: run {teacher.run_id} " in said
        assert f"stopped by {number.name} at step " in said and "the same command continues from there" in said
        assert teacher.state() == "interrupted"
        assert teacher.failure() is None
        steps = [one["step"] for one in teacher.read_json("environment.json")["attempts"]]
        assert len(steps) == attempt + 1 and sorted(set(steps)) == steps
        assert not Store(tmp_path).run(student.run_id).path.exists()
        log = read(teacher.path / "run.log")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)
