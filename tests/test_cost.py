"""`repro cost` and `--dry-run --speeds`: hours predicted from measured speeds, against sums made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from repro.bench import throughput
from repro.cli import main
from repro.config import DataConfig, RunConfig, Selection, StudentConfig
from repro.config_override import override
from repro.data.augment_geometric import HorizontalFlip
from repro.data.digits import Digits
from repro.data.synthetic import Synthetic
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments import protocol
from repro.launch.cost import Speeds, read_speeds
from repro.models.lenet import LeNet5
from repro.store import Store

WIDE = LeNet5(width=2)
IMAGES = Selection(dataset=Digits(), size=1000)


def student(**changes: Any) -> StudentConfig:
    teachers = [protocol.teacher(data=IMAGES, model=model, epochs=3, seed=0) for model in (LeNet5(), WIDE)]
    options = {"data": DataConfig(train=IMAGES), "model": LeNet5(), "objective": ForwardCrossEntropy(), "epochs": 20}
    return protocol.student(teachers=tuple(teachers), seed=1, **options | changes)  # type: ignore[arg-type]


def entry(model: LeNet5, train: list[float], evaluate: list[float]) -> dict[str, Any]:
    shape = {"input_shape": [1, 28, 28], "num_classes": 10, "batch_size": 64}
    return {"model": model.model_dump(mode="json"), **shape, "train": train, "evaluate": evaluate}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    networks = [entry(LeNet5(), [50.0, 100.0, 800.0], [1000.0] * 3), entry(WIDE, [10.0] * 3, [200.0] * 3)]
    report = {"machine": {"device": "cpu", "processor": "Abacus"}, "networks": networks}
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({"throughput": report}))
    return path


@pytest.fixture
def speeds(file: Path) -> Speeds:
    return read_speeds(file)


def write_finished(store: Store, config: RunConfig, seconds: float, processor: str) -> None:
    run = store.run(config.run_id)
    run.path.mkdir(parents=True)
    run.write_config(config)
    run.write_json("environment.json", {"attempts": [{"machine": {"device": "cpu", "processor": processor}}]})
    run.write_json("summary.json", {"seconds": seconds})


def test_a_run_costs_its_steps_its_teachers_and_its_evaluations(speeds: Speeds) -> None:
    # 20 epochs, evaluated every 2: 10 rows and the end, each of 10,000 test and 1,000 train images at 1,000 a second.
    evaluations = 11 * 11_000 / 1000
    steps = 20 * 1000 / 100  # the median of the rounds
    assert speeds.seconds(student()) == pytest.approx(steps + 1000 * (1 / 1000 + 1 / 200) + evaluations)
    seen_anew = student(augmentation=(HorizontalFlip(),))
    assert speeds.seconds(seen_anew) == pytest.approx(steps + 20_000 * (1 / 1000 + 1 / 200) + evaluations)
    assert speeds.seconds(student().teachers[1]) == pytest.approx(3 * 1000 / 10 + 4 * 11_000 / 200)


def test_what_was_not_measured_has_no_estimate(speeds: Speeds) -> None:
    assert speeds.seconds(student(model=LeNet5(width=3))) is None
    assert speeds.seconds(override(student(), {"precision": "bfloat16"})) is None
    elsewhere = Selection(dataset=Synthetic(images=80, image_size=8))
    assert speeds.seconds(protocol.teacher(data=elsewhere, model=LeNet5(), epochs=3, seed=0)) is None


def test_the_command_adds_up_counts_shared_runs_once_and_tells_its_error(
    file: Path, speeds: Speeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "runs")
    for seed, factor in enumerate((1.5, 2.0, 4.0)):
        config = student().teachers[0].model_copy(update={"seed": seed})
        predicted = speeds.seconds(config)
        assert predicted is not None
        write_finished(store, config, seconds=factor * predicted, processor="Abacus")
    write_finished(store, student(), seconds=1.0, processor="another")
    command = ["cost", "--speeds", str(file), "--runs", str(store.root), "--preset", "smoke"]
    assert main([*command, "sweeps/digits.yaml", "sweeps/digits.yaml"]) == 0
    shown = capsys.readouterr().out
    first, second, both = [line.split() for line in shown.splitlines() if line.startswith(("digits", "all"))]
    assert first == second and first[1] == "12" and float(first[-1]) > 0
    assert both[-3:] == first[-3:]
    assert "3 finished runs" in shown and "took 2.00 times what is predicted for them (median; 1.50 to 4.00)" in shown


def test_a_dry_run_estimates_from_the_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = ["launch", "sweeps/digits.yaml", "preset=smoke", "--dry-run", "--runs", str(tmp_path / "none")]
    assert main([*launch, "--speeds", str(file)]) == 0
    assert f"run-hours on Abacus for 12 of the 12 runs to make, by speeds in {file}" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"throughput": {"networks": [{}]}}', '{"lenet": {}}'])
def test_a_file_that_is_something_else_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    assert main(["cost", "--speeds", str(path)]) == 2
    assert capsys.readouterr().err == f"repro: --speeds {path}: not what `repro bench throughput --json` writes\n"
    assert main(["cost", "--speeds", str(tmp_path / "nowhere.json")]) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


def test_what_the_bench_writes_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [student(), student(model=WIDE, augmentation=(HorizontalFlip(),))]
    monkeypatch.setattr(throughput, "networks_of_sweeps", lambda: small)
    report = throughput.measure(rounds=2, seconds=0.02, device="cpu")
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({"throughput": report.numbers}))
    seconds = [read_speeds(path).seconds(config) for config in small]
    assert all(value is not None and value > 0 for value in seconds)
    assert "lenet5" in report.text


def test_every_network_of_the_papers_image_studies_is_measured() -> None:
    names = {(config.model.name, config.model.model_dump().get("depth")) for config in throughput.networks_of_sweeps()}
    assert names >= {("preresnet", 20), ("preresnet", 56), ("preresnet", 110), ("vgg", 16), ("lenet5", None)}
