"""What an attempt to make a run leaves in its record: its machine, and why it failed."""

import platform
from pathlib import Path

import pytest
import torch
from runs import runner, small_teacher

from repro.attempt import write_failure
from repro.config import DataConfig, Selection
from repro.data.synthetic import Synthetic
from repro.errors import Interrupted, RunFailed
from repro.optimization.optimizers import SGD
from repro.store import Store
from repro.training.distributed import PeerLost
from repro.training.hardware import describe


def test_what_another_machine_may_change_is_said_where_it_goes_on_from_a_step_of_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = DataConfig(train=Selection(dataset=Synthetic(images=20, image_size=8)))
    config = small_teacher(data=few, epochs=5)  # of one step each
    run = Store(tmp_path).run(config.run_id)
    run.path.mkdir()
    run.write_json("environment.json", {"attempts": [{"machine": {"threads": 64}}]})  # it came to no checkpoint

    def warnings_of_an_attempt(threads: int) -> list[str]:
        worker = runner(tmp_path)
        worker.stop.signal = "SIGTERM"
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        with pytest.raises(Interrupted):
            worker.make(config, "run")
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]

    line = "continues with another threads: its result may differ from that of an undisturbed run"
    told = [warnings_of_an_attempt(threads) for threads in (1, 1, 2, 2)]
    assert told == [[], [], [f"warning: run {run.run_id} {line}"], []]
    attempts = run.read_json("environment.json")["attempts"][1:]
    assert [(one["step"], one["machine"]["threads"]) for one in attempts] == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert (run.path / "run.log").read_text().count(line) == 1


def test_that_another_process_was_lost_is_a_reason_only_where_that_one_left_none(tmp_path: Path) -> None:
    run = Store(tmp_path).run("0123456789ab")
    run.path.mkdir()
    write_failure(run, PeerLost("another process ended"))
    assert run.failure() == "another process ended"
    write_failure(run, RunFailed("the loss became nan"))
    write_failure(run, PeerLost("another process ended"))
    assert run.failure() == "the loss became nan"


def test_why_a_run_failed_is_told_also_where_it_cannot_be_written(tmp_path: Path) -> None:
    config = small_teacher(optimizer=SGD(learning_rate=1e30))
    run = Store(tmp_path).run(config.run_id)
    (run.path / ".failure.json.partial").mkdir(parents=True)
    with pytest.raises(RunFailed, match=f"^run {run.run_id} .a teacher.: the loss became "):
        runner(tmp_path).make(config, "a teacher")
    assert run.state() == "interrupted"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are instructions of x86-64")
def test_processors_of_one_name_and_other_instructions_are_other_machines() -> None:
    """As PyTorch's own detection says, which knows no finer difference than AVX2, AVX-512 and neither."""
    model, _, instructions = describe(torch.device("cpu"))["processor"].rpartition(", ")
    family = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512", "amx_bf16": "AVX512"}
    assert family.get(instructions, "DEFAULT") == torch.backends.cpu.get_cpu_capability()
    assert model or instructions not in family
