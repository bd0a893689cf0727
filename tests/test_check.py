"""Bad input is found before any run of a plan is begun, its parents included."""

from pathlib import Path

import pytest
from runs import SMALL, lenet_teacher, runner, small_student, small_teacher

from repro.cli import main
from repro.config import DataConfig, RunConfig, Selection
from repro.data.prepared import MNIST
from repro.errors import BadInput
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep

BAD: dict[str, tuple[RunConfig, str]] = {
    "too few images": (
        small_student(data=DataConfig(train=Selection(dataset=SMALL, size=5000))),
        "data set digits: 5000 images asked for, 1200 are there",
    ),
    "too few images in a pool": (
        small_student(data=DataConfig(train=Selection(dataset=SMALL), pools=(Selection(dataset=SMALL, size=1201),))),
        "data set digits: 1201 images asked for",
    ),
    "an architecture that does not fit the images": (
        small_student(model=lenet_teacher().model),
        "lenet5 fits images of 28x28 or 32x32 pixels, not 8x8",
    ),
    "a missing file": (
        lenet_teacher(data=DataConfig(train=Selection(dataset=MNIST()))),
        r"mnist\.npz: no such file; make it with `repro data prepare mnist",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_written_on_bad_input(name: str, tmp_path: Path) -> None:
    config, message = BAD[name]
    plan = parents_first([Request("good", small_teacher(seed=9)), Request("bad", config)])
    root = tmp_path / "runs"
    with pytest.raises(BadInput, match=message):
        run_here(plan, runner(root))
    assert not root.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_launch_on_this_machine_writes_nothing_either(
    workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, runs = str(find_sweep("digits")), tmp_path / "runs"
    bad = "data.train.size=5000"
    assert main(["launch", sweep, "preset=smoke", bad, "--workers", workers, "--runs", str(runs)]) == 2
    assert "data set digits: 5000 images asked for, 1200 are there" in capsys.readouterr().err
    assert not runs.exists()
