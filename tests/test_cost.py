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
from repro.launch.cost import Speeds, read_speeds, show_cost
from repro.launch.request import Request
from repro.models.lenet import LeNet5
from repro.store import Store

WIDE = LeNet5(width=2)
IMAGES = Selection(dataset=Digits(), size=1000)


def student(**changes: Any) -> StudentConfig:
    teachers = [protocol.teacher(data=IMAGES, model=model, epochs=3, seed=0) for model in (LeNet5(), WIDE)]
    options = {"data": DataConfig(train=IMAGES), "model": LeNet5(), "objective": ForwardCrossEntropy(), "epochs": 20}
    return protocol.student(teachers=tuple(teachers), **options | {"seed": 1} | changes)  # type: ignore[arg-type]


def entry(model: LeNet5, train: list[float], evaluate: list[float]) -> dict[str, Any]:
    shape = {"input_shape": [1, 28, 28], "num_classes": 10, "batch_size": 64}
    return {"model": model.model_dump(mode="json"), **shape, "train": train, "evaluate": evaluate}


def machine(processor: str, threads: int = 2) -> dict[str, Any]:
    return {"device": "cpu", "processor": processor, "threads": threads}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    networks = [entry(LeNet5(), [50.0, 100.0, 800.0], [1000.0] * 3), entry(WIDE, [10.0] * 3, [200.0] * 3)]
    report = {"machine": machine("Abacus"), "networks": networks}
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({"throughput": report}))
    return path


@pytest.fixture
def speeds(file: Path) -> Speeds:
    return read_speeds(file)


def write_finished(store: Store, config: RunConfig, seconds: float, *machines: dict[str, Any]) -> None:
    run = store.run(config.run_id)
    run.path.mkdir(parents=True)
    run.write_config(config)
    run.write_json("environment.json", {"attempts": [{"machine": one} for one in machines]})
    run.write_json("summary.json", {"seconds": seconds})


def test_a_run_costs_its_steps_its_teachers_and_its_evaluations(speeds: Speeds) -> None:
    # 20 epochs, evaluated every 2: 10 rows and the end, each of 597 test and 1,000 train images at 1,000 a second,
    # which each teacher is shown once to be compared with.
    evaluations = 11 * 1597 / 1000 + 1597 * (1 / 1000 + 1 / 200)
    steps = 20 * 1000 / 100  # the median of the rounds
    assert speeds.seconds(student()) == pytest.approx(steps + 1000 * (1 / 1000 + 1 / 200) + evaluations)
    seen_anew = student(augmentation=(HorizontalFlip(),))
    assert speeds.seconds(seen_anew) == pytest.approx(steps + 20_000 * (1 / 1000 + 1 / 200) + evaluations)
    assert speeds.seconds(student().teachers[1]) == pytest.approx(3 * 1000 / 10 + 4 * 1597 / 200)


def test_what_was_not_measured_has_no_estimate(speeds: Speeds) -> None:
    assert speeds.seconds(student(model=LeNet5(width=3))) is None
    assert speeds.seconds(override(student(), {"precision": "bfloat16"})) is None
    elsewhere = Selection(dataset=Synthetic(images=80, image_size=8))
    assert speeds.seconds(protocol.teacher(data=elsewhere, model=LeNet5(), epochs=3, seed=0)) is None


def test_the_command_adds_up_counts_shared_runs_once_and_tells_its_error(
    file: Path, speeds: Speeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "runs")
    for seed, factor in enumerate((1.5, 2.0, 4.0)):  # of equal runs
        config = student().teachers[0].model_copy(update={"seed": seed})
        predicted = speeds.seconds(config)
        assert predicted is not None
        write_finished(store, config, factor * predicted, machine("Abacus"), machine("Abacus"))
    elsewhere = ([machine("another")], [machine("Abacus", threads=1)], [machine("another"), machine("Abacus")])
    for seed, machines in enumerate(elsewhere):
        write_finished(store, student(seed=seed), 1.0, *machines)
    command = ["cost", "--speeds", str(file), "--runs", str(store.root), "--preset", "smoke"]
    assert main([*command, "sweeps/digits.yaml", "sweeps/digits.yaml"]) == 0
    shown = capsys.readouterr().out
    first, second, both = [line.split() for line in shown.splitlines() if line.startswith(("digits", "all"))]
    assert first == second and first[1] == "12" and float(first[-1]) > 0
    assert both[-3:] == first[-3:]
    assert "predicted for Abacus, 2 threads" in shown and "3 finished runs" in shown
    assert "2.50 times what is predicted for them (single runs 1.50 to 4.00 times, 2.00 in the median)" in shown


def test_a_dry_run_estimates_from_the_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = ["launch", "sweeps/digits.yaml", "preset=smoke", "--dry-run", "--runs", str(tmp_path / "none")]
    assert main([*launch, "--speeds", str(file)]) == 0
    assert (
        f"run-hours on Abacus, 2 threads for 12 of the 12 runs to make, by speeds in {file}" in capsys.readouterr().out
    )


def test_records_are_those_of_the_same_work_and_scale_with_all_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = protocol.teacher(data=IMAGES, model=LeNet5(), epochs=3, seed=0)
    # A millisecond a pass: 3 for each of 3,000 training images, and 4 times 597 test and 1,000 train images.
    write_finished(store, seen, (3 * 3000 + 4 * 1597) / 1000, machine("Abacus"))
    smaller = Selection(dataset=Digits(image_size=8))
    write_finished(store, seen.model_copy(update={"data": DataConfig(train=smaller)}), 1e6, machine("Abacus"))
    write_finished(store, override(seen, {"objective": {"name": "label_smoothing"}}), 1e6, machine("Abacus"))
    write_finished(store, override(seen, {"seed": 1}), 1e6, {"device": "H200"}, machine("Abacus"))
    wanted = protocol.teacher(data=Selection(dataset=Digits(), size=200), model=LeNet5(), epochs=6, seed=0)
    hours = (3 * 1200 + 7 * 797) / 1000 / 3600
    shown = show_cost([Request("a teacher", wanted)], store, "cpu")
    assert shown == f"about {hours:.3g} run-hours on CPUs for 1 of the 1 runs to make, by similar record"


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
    many = DataConfig(train=Selection(dataset=Digits(), size=100_000))  # more than the bench makes
    small = [student(data=many), student(model=WIDE, augmentation=(HorizontalFlip(),))]
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
