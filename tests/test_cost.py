"""`repro cost` and `--dry-run --speeds`: hours predicted from measured speeds, against sums made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from runs import small_generator

from repro.cli import main
from repro.config import DataConfig, GeneratedStream, RunConfig, Selection, StudentConfig
from repro.config.override import override
from repro.data.augment_geometric import HorizontalFlip
from repro.data.digits import Digits
from repro.data.image_folder import ImageNet
from repro.data.prepared import EMNIST
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments import protocol
from repro.generative.sngan import SNGAN
from repro.launch.cost import Speeds, read_speeds, show_cost
from repro.launch.dry_run import see_what_is_left, show_runs
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.standing import sort_out
from repro.launch.sweep import find_sweep, read_sweep
from repro.models.lenet import LeNet5
from repro.store import RunDirectory, Store

WIDE = LeNet5(width=2)
IMAGES = Selection(dataset=Digits(), size=1000)


def student(**changes: Any) -> StudentConfig:
    teachers = [protocol.teacher(data=IMAGES, model=model, epochs=3, seed=0) for model in (LeNet5(), WIDE)]
    options = {"data": DataConfig(train=IMAGES), "model": LeNet5(), "objective": ForwardCrossEntropy(), "epochs": 20}
    return protocol.student(teachers=tuple(teachers), **options | {"seed": 1} | changes)  # type: ignore[arg-type]


def entry(model: LeNet5 | SNGAN, train: list[float], evaluate: list[float], **mode: Any) -> dict[str, Any]:
    shape = {"input_shape": [1, 28, 28], "num_classes": 10, "batch_size": 64}
    return {"model": model.model_dump(mode="json"), **shape, **mode, "train": train, "evaluate": evaluate}


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


def begin(store: Store, config: RunConfig) -> RunDirectory:
    run = store.run(config.run_id)
    run.path.mkdir(parents=True)
    run.write_config(config)
    return run


def write_finished(store: Store, config: RunConfig, seconds: float, *machines: dict[str, Any]) -> None:
    run = begin(store, config)
    run.write_json("environment.json", {"attempts": [{"machine": one} for one in machines]})
    run.write_json("summary.json", {"metrics": {}, "seconds": seconds, "data": {}})


def test_a_run_costs_its_steps_its_teachers_and_its_evaluations(speeds: Speeds) -> None:
    # 20 epochs, evaluated every 2: 10 rows and the end, each of 597 test and 1,000 train images at 1,000 a second,
    # which each teacher is shown once to be compared with, and 8 more images at the end.
    evaluations = (11 * 1597 + 8) / 1000 + 1597 * (1 / 1000 + 1 / 200)
    steps = 20 * 1000 / 100  # the median of the rounds
    assert speeds.seconds(student()) == pytest.approx(steps + 1000 * (1 / 1000 + 1 / 200) + evaluations)
    seen_anew = student(augmentation=(HorizontalFlip(),))
    assert speeds.seconds(seen_anew) == pytest.approx(steps + 20_000 * (1 / 1000 + 1 / 200) + evaluations)
    assert speeds.seconds(student().teachers[1]) == pytest.approx(3 * 1000 / 10 + (4 * 1597 + 8) / 200)


def test_in_a_mode_its_steps_have_its_speeds_and_so_have_the_teachers_in_them(tmp_path: Path) -> None:
    mode = {"precision": "bfloat16", "compiled": True}
    networks = [entry(LeNet5(), [100.0], [1000.0]), entry(WIDE, [10.0], [200.0])]
    networks += [entry(LeNet5(), [400.0], [5000.0], **mode), entry(WIDE, [50.0], [800.0], **mode)]
    networks += [entry(SNGAN(), [20.0], [250.0])]
    path = tmp_path / "modes.json"
    path.write_text(json.dumps({"throughput": {"machine": machine("Abacus"), "networks": networks}}))
    evaluations = (11 * 1597 + 8) / 1000 + 1597 * (1 / 1000 + 1 / 200)  # in float32
    seen_anew = override(student(augmentation=(HorizontalFlip(),)), mode)
    expected = 20 * 1000 / 400 + 20_000 * (1 / 5000 + 1 / 800) + evaluations
    assert read_speeds(path).seconds(seen_anew) == pytest.approx(expected)

    generator = small_generator(model=SNGAN(), data=DataConfig(train=IMAGES))
    made = 4 * 64  # three rows and the end
    assert read_speeds(path).seconds(generator) == pytest.approx(3 * 4 * 2 * 16 / 20 + made / 250)
    fresh = DataConfig(train=IMAGES, streams=(GeneratedStream(share=0.2, generator=generator),))
    of_fresh = read_speeds(path).seconds(student(data=fresh, batch_size=100, epochs=2))
    # 12 full steps of 80 own images and 20 fresh ones, then one of 40 and 10.
    images = 2 * (1000 + 250)
    evaluations = (3 * 1597 + 8) / 1000 + 1597 * (1 / 1000 + 1 / 200)
    assert of_fresh == pytest.approx(images * (1 / 100 + 1 / 1000 + 1 / 200) + 2 * 250 / 250 + evaluations)


def test_what_was_not_measured_has_no_estimate_but_a_reason(speeds: Speeds, tmp_path: Path) -> None:
    def why(config: RunConfig) -> str:
        reason = speeds.seconds(config)
        assert isinstance(reason, str)
        return reason

    shape = "on 1x28x28, 10 classes"
    assert why(student(model=LeNet5(width=3))) == f"{speeds.path} has no speed for lenet5 width=3 {shape} in float32"
    fast = override(student(), {"precision": "bfloat16", "compiled": True})
    assert why(fast) == f"{speeds.path} has no speed for lenet5 width=1 {shape} in bfloat16, compiled"
    letters = protocol.teacher(data=Selection(dataset=EMNIST(letters=True)), model=LeNet5(), epochs=3, seed=0)
    assert why(letters) == "the number of examples is unknown (emnist or another data set of the run)"
    files = Selection(dataset=ImageNet())
    in_files = protocol.teacher(data=files, model=LeNet5(), epochs=3, seed=0)
    assert why(in_files) == "imagenet stays in files, whose decoding speed is not measured"
    shown = show_cost(
        [Request("a", student()), Request("b", fast), Request("c", in_files)], Store(tmp_path), "cpu", speeds
    )
    assert " for 1 of the 3 runs to make, " in shown
    assert shown.endswith(f"; no estimate for 1: {why(fast)}; no estimate for 1: {why(in_files)}")


def test_the_command_adds_up_counts_shared_runs_once_and_tells_its_error(
    file: Path, speeds: Speeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, took = Store(tmp_path / "runs"), 0.0
    for seed, factor in enumerate((1.5, 2.0, 4.0)):  # of equal runs
        config = student().teachers[0].model_copy(update={"seed": seed})
        predicted = speeds.seconds(config)
        assert isinstance(predicted, float)
        write_finished(store, config, factor * predicted, machine("Abacus"), machine("Abacus"))
        took += factor * predicted
    elsewhere = ([machine("another")], [machine("Abacus", threads=1)], [machine("another"), machine("Abacus")])
    for seed, machines in enumerate(elsewhere):
        write_finished(store, student(seed=seed), 1.0, *machines)
    begin(store, student(seed=9))  # it has no time yet
    command = ["cost", "--speeds", str(file), "--runs", str(store.root), "--preset", "smoke"]
    assert main([*command, "sweeps/digits.yaml", "sweeps/digits.yaml"]) == 0
    shown = capsys.readouterr().out
    first, second, both = [line.split() for line in shown.splitlines() if line.startswith(("digits", "all"))]
    plan = parents_first(read_sweep(find_sweep("digits"), {"preset": "smoke"}))
    hours = sum(float(speeds.seconds(request.config)) for request in plan) / 3600
    assert first == second == ["digits", "12", *first[2:-1], f"{hours:.3g}"]
    assert both[-3:] == ["12", *first[2:]]
    assert "predicted for Abacus, 2 threads" in shown and "3 finished runs" in shown
    assert f" took {took / 3600:.3g} hours in all, " in shown
    assert "2.50 times what is predicted for them (single runs 1.50 to 4.00 times, 2.00 in the median)" in shown


@pytest.mark.parametrize(
    ("sweeps", "inputs"), [(["digits"], "images"), (["text"], "texts"), (["digits", "text"], "examples")]
)
def test_the_command_says_whether_it_counts_images_or_texts(
    sweeps: list[str], inputs: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cost", "--speeds", str(file), "--runs", str(tmp_path), "--preset", "smoke"]
    assert main([*command, *(f"sweeps/{name}.yaml" for name in sweeps)]) == 0
    (headers,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("sweep"))
    assert headers.split()[-4:] == [inputs, "to", "train", "hours"]


def test_the_command_says_for_how_many_runs_there_is_no_estimate_and_why(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cost", "--speeds", str(file), "--runs", str(tmp_path / "none"), "--preset", "smoke"]
    assert main([*command, str(find_sweep("text")), str(find_sweep("digits"))]) == 0
    shown = capsys.readouterr().out
    text, _, both = [line.split() for line in shown.splitlines() if line.startswith(("text", "digits", "all"))]
    assert text[:3] == ["text", "24", "24"]
    assert both[4:6] == ["36", "24"]
    assert f"\n24 without estimate: {file} has no speed for lstm " in shown
    assert "was made on Abacus, 2 threads: the error of this prediction is not known" in shown


def test_a_dry_run_estimates_from_the_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = ["launch", "sweeps/digits.yaml", "preset=smoke", "--dry-run", "--runs", str(tmp_path / "none")]
    assert main([*launch, "--speeds", str(file)]) == 0
    assert (
        f"run-hours on Abacus, 2 threads for 12 of the 12 runs to make, by speeds in {file}" in capsys.readouterr().out
    )


@pytest.mark.parametrize(("checkpoint", "left"), [(True, 0.25), (False, 1.0)])
def test_of_an_interrupted_run_a_dry_run_counts_what_is_left(
    checkpoint: bool, left: float, speeds: Speeds, tmp_path: Path
) -> None:
    request, store = Request("a", student()), Store(tmp_path / "runs")
    run = store.run(request.run_id)
    run.path.mkdir(parents=True)
    run.write_config(request.config)
    run.append_metrics({"epoch": 15})  # of 20
    if checkpoint:
        (run.path / "checkpoint.pt").touch()
    _, _, *standings = see_what_is_left(sort_out(parents_first([request]), store, {}, retry_failed=False), store)
    assert "1 distinct run (1 student), 2e+04 images to train" in (shown := show_runs(standings))
    assert ("to make: 1 distinct run (1 student), 5e+03 images to train" in shown) == checkpoint
    whole = speeds.seconds(request.config)
    assert isinstance(whole, float)
    hours = left * whole / 3600
    assert show_cost([standings[0].request], store, "cpu", speeds).startswith(f"about {hours:.3g} run-hours on Abacus")


def test_records_are_those_of_the_same_work_and_scale_with_all_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = protocol.teacher(data=IMAGES, model=LeNet5(), epochs=3, seed=0)
    # A millisecond a pass: 3 for each of 3,000 training images, and 4 times 597 test and 1,000 train images.
    write_finished(store, seen, (3 * 3000 + 4 * 1597) / 1000, machine("Abacus"))
    smaller = Selection(dataset=Digits(image_size=8))
    write_finished(store, seen.model_copy(update={"data": DataConfig(train=smaller)}), 1e6, machine("Abacus"))
    write_finished(store, override(seen, {"objective": {"name": "label_smoothing"}}), 1e6, machine("Abacus"))
    write_finished(store, override(seen, {"seed": 1}), 1e6, {"device": "H200"}, machine("Abacus"))
    write_finished(store, override(seen, {"seed": 2}), 36 * (3 * 3000 + 4 * 1597), {"device": "H200"})
    begin(store, override(seen, {"seed": 3}))
    write_finished(store, override(seen, {"seed": 4}), 1e6, machine("Abacus"))
    (store.run(override(seen, {"seed": 4}).run_id).path / "environment.json").unlink()  # of which the machine is lost
    wanted = protocol.teacher(data=Selection(dataset=Digits(), size=200), model=LeNet5(), epochs=6, seed=0)
    hours = (3 * 1200 + 7 * 797) / 1000 / 3600
    shown = show_cost([Request("a teacher", wanted)], store, "cpu", None)
    assert shown == f"about {hours:.3g} run-hours on CPUs for 1 of the 1 runs to make, by similar record"
    shown = show_cost([Request("a teacher", wanted)], store, "cuda:0", None)
    hours *= 36_000
    assert shown == f"about {hours:.3g} run-hours on a GPU for 1 of the 1 runs to make, by similar record"


@pytest.mark.parametrize(
    "changes",
    [
        {"model.width": 3},
        {"batch_size": 50},
        {"precision": "bfloat16"},
        {"compiled": True},
        {"frozen_trunk": True},
        {"augmentation": [{"name": "horizontal_flip"}]},
        {"data.streams": [{"name": "noise", "share": 0.1}]},
        {"data.train.dataset.name": "mnist", "teachers.data.train.dataset.name": "mnist"},
        {"teachers.1.model.width": 3},
    ],
)
def test_records_of_other_work_say_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_finished(store, override(student(), changes), 1e6, machine("Abacus"))
    shown = show_cost([Request("a student", student())], store, "cpu", None)
    assert shown == "no estimate of run-hours on CPUs: no similar record"
    write_finished(store, override(student(), {"seed": 9, "epochs": 5}), 1e6, machine("Abacus"))
    # Three passes for each training image, one for what each teacher is asked once, and for each image evaluated.
    passes = {epochs: 3 * epochs * 1000 + 2 * 1000 + (rows + 3) * 1597 for epochs, rows in ((5, 3), (20, 10))}
    hours = 1e6 * passes[20] / passes[5] / 3600
    assert show_cost([Request("a student", student())], store, "cpu", None).startswith(f"about {hours:.3g} run-hours")
