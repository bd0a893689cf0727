"""A bench that is interrupted reports what it has measured, and prints it before."""

import multiprocessing
import os
import signal

import pytest
import torch

from repro.bench import lenet, resnet, throughput, workers
from repro.bench.timing import Work, repeat

CPU = torch.device("cpu")


class Interrupted:
    """A contender whose process gets a signal while it works for the given time, counted from 1, warm-ups included."""

    def __init__(self, sent: signal.Signals, at: int) -> None:
        self.sent, self.at = sent, at

    def __call__(self, seconds: float) -> int:  # noqa: ARG002
        self.at -= 1
        if self.at == 0:
            os.kill(os.getpid(), self.sent)
        return 10


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("at", "rounds", "allocators"), [(4, 1, ["default"]), (8, 3, ["default"]), (9, 1, None)])
def test_an_interrupted_bench_reports_the_rounds_that_are_complete(
    sent: signal.Signals,
    at: int,
    rounds: int,
    allocators: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of three rounds with each allocator. All that a killed one leaves is what it has printed."""
    others = ("reference", "bare", "bare, channels first", "bare, teachers folded")
    contenders = {**dict.fromkeys(others, repeat(lambda: 10)), "ours": Interrupted(sent, at)}
    monkeypatch.setattr(resnet, "every_contender", lambda *_: contenders)
    monkeypatch.setattr(resnet, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(resnet, "floor_speed", lambda *_: dict.fromkeys(FLOOR, 1.0))
    handler = signal.getsignal(signal.SIGTERM)
    report = resnet.measure(count=300, rounds=3, seconds=0.001, device="cpu", compiled=False)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert report.numbers["settings"]["rounds"] == rounds
    speeds = report.numbers["images_per_second"]
    assert list(speeds) == (allocators or ["default", "kept"])
    assert {len(by_round) for of in speeds.values() for by_round in of.values()} == {rounds}
    assert report.numbers["ratios"]["ours / reference"]["confidence"] == pytest.approx(1 - 2 / 2**rounds)
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith("default allocator, round 1 of 3, images/s: reference ")
    assert len(printed) == (4 if allocators is None else rounds)


FLOOR = ("images_per_second", "flops_per_image", "bytes_per_image", "flops_per_second", "bytes_per_second")


def test_a_bench_that_is_interrupted_in_its_first_round_has_nothing_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "every_contender", lambda *_: {"ours": Interrupted(signal.SIGINT, 2)})
    with pytest.raises(KeyboardInterrupt):
        resnet.measure(count=300, rounds=3, device="cpu", compiled=False)


def test_interrupted_throughput_has_the_complete_networks_and_every_network_in_float32_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Interrupted(signal.SIGINT, 4 * 14)  # twelve networks, of which two are measured in the second mode as well
    monkeypatch.setattr(throughput, "_contenders", lambda *_: {"train": work, "evaluate": repeat(lambda: 10)})
    monkeypatch.setattr(throughput, "keep_freed_memory", lambda: None)
    report = throughput.measure(rounds=2, seconds=0.001, device="cpu", fast=True)
    modes = [network["precision"] for network in report.numbers["networks"]]
    assert modes == ["float32"] * 12 + ["bfloat16"]
    assert len(capsys.readouterr().err.splitlines()) == len(modes)


@pytest.mark.slow
def test_interrupted_workers_report_what_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a terminal reaches every process of the bench."""
    work, sent = workers.Processes.on, iter([False, False, True])

    def interrupted(processes: workers.Processes, config: int) -> Work:
        def and_interrupt(seconds: float) -> int:
            if next(sent):
                for process in multiprocessing.active_children():
                    os.kill(process.pid or 0, signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return work(processes, config)(seconds)

        return and_interrupt

    monkeypatch.setattr(workers.Processes, "on", interrupted)
    crews, others = {"one": workers.Crew(1, 1)}, set(multiprocessing.active_children())
    configs = {"lenet5": lenet.study_config(crop=False), "again": lenet.study_config(crop=True)}
    speeds = workers.measure_crews(configs, crews, images=256, rounds=2, seconds=0.05, device=CPU)
    assert list(speeds) == ["lenet5"] and [len(by_round) for by_round in speeds["lenet5"].values()] == [1]
    assert set(multiprocessing.active_children()) == others
