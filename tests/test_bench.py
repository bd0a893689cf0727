"""`repro bench`: a fair comparison, honest ratios, and numbers that can be read by a program."""

import contextlib
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from processes import has_argument, outlive, report_of_its_process
from torch.utils.data import DataLoader

from repro.bench import BENCHES, floor, lenet, resnet, run_benches, workers
from repro.bench.contenders import Distillation, PilImages, plain_loop, random_examples
from repro.bench.floor import work_per_image
from repro.bench.timing import Report, Work, interleave, paired_ratio, ratio, repeat, spread
from repro.bench.wandb import TurnTaker, take_turns
from repro.data.prepared import MNIST
from repro.errors import BadInput
from repro.experiments.capacity import Capacity
from repro.training.trainer import Trainer

CONTENDERS = {"reference", "ours", "ours, steps", "teacher pass", "bare", "reference, crop", "ours, crop"}


CPU = torch.device("cpu")


@pytest.mark.parametrize("members", [1, 2])
def test_the_reference_and_ours_train_the_same_network_to_the_same_weights(members: int) -> None:
    torch.manual_seed(0)
    config = lenet.study_config(crop=False)
    temperature = {"objective": config.objective.model_copy(update={"temperature": 3.0})}
    config = config.model_copy(update={"teachers": config.teachers * members, **temperature})
    job = Distillation(config, random_examples(config, 1000), CPU)  # 7 batches of 128 and one of 104
    trainer = Trainer(config, {MNIST(): job.images}, job.teachers(), CPU)
    assert trainer.teachers is not None
    student, teachers = job.student(), [job.student() for _ in range(members)]
    student.load_state_dict(trainer.network.state_dict())
    for ours, theirs in zip(trainer.teachers.members, teachers, strict=True):
        theirs.load_state_dict(ours.state_dict())
    start = torch.nn.utils.parameters_to_vector(student.parameters()).detach().clone()

    trainer.advance(lambda: False)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(config.stream_seed("order", 0)))
    batches = DataLoader(PilImages(job.images.train, ()), batch_size=config.batch_size, sampler=order.tolist())
    steps = list(plain_loop(student, teachers, batches, CPU, temperature=3.0))

    assert [size for size, _, _, _ in steps] == [128] * 7 + [104]
    assert trainer.losses.tolist() == pytest.approx([loss for _, loss, _, _ in steps], rel=1e-6)
    theirs_moved = torch.nn.utils.parameters_to_vector(student.parameters()) - start
    ours_moved = torch.cat([weight.detach().reshape(-1) for weight in trainer.network.parameters()]) - start
    assert (ours_moved - theirs_moved).norm() < 1e-4 * ours_moved.norm()


def test_both_sides_change_the_images_alike() -> None:
    torch.manual_seed(0)
    plain, crop, baseline = lenet.study_config(crop=False), lenet.study_config(crop=True), resnet.study_config()
    assert plain.augmentation == ()
    assert [change.name for change in crop.augmentation] == ["random_crop"]
    assert [change.name for change in baseline.augmentation] == ["random_crop", "horizontal_flip"]
    split = random_examples(plain, 8).train
    still, moved = PilImages(split, plain.augmentation), PilImages(split, crop.augmentation)
    assert all(torch.equal(still[i][0], split.inputs[i] / 255 * 2 - 1) for i in range(8))
    assert any(not torch.equal(still[i][0], moved[i][0]) for i in range(8))
    colours = random_examples(baseline, 1).train
    transforms = PilImages(colours, baseline.augmentation).transform.transforms
    assert [type(transform).__name__ for transform in transforms[:2]] == ["RandomCrop", "RandomHorizontalFlip"]
    assert torch.allclose(PilImages(colours, ())[0][0], colours.inputs[0] / 255 * 2 - 1, atol=1e-6)


def test_the_floor_counts_the_products_of_a_step() -> None:
    """ResNet-20 by hand: 3x3 convolutions of 16, 32, 64 channels on 32, 16, 8 pixels, 1x1 shortcuts, a classifier."""
    stem, stage1 = 9 * 3 * 16 * 32**2, 6 * 9 * 16 * 16 * 32**2
    stage2 = (9 * 16 * 32 + 5 * 9 * 32 * 32 + 16 * 32) * 16**2
    stage3 = (9 * 32 * 64 + 5 * 9 * 64 * 64 + 32 * 64) * 8**2
    forward = 2 * (stem + stage1 + stage2 + stage3 + 64 * 100)
    flops, moved = work_per_image(resnet.study_config())
    assert flops == (3 + resnet.MEMBERS) * forward
    inputs = 3 * 32**2 + (6 + 2) * 16 * 32**2 + (5 + 2) * 32 * 16**2 + 5 * 64 * 8**2 + 64
    outputs = 7 * 16 * 32**2 + 7 * 32 * 16**2 + 7 * 64 * 8**2 + 100
    assert moved == (3 + resnet.MEMBERS) * 4 * (inputs + outputs)


@pytest.mark.slow
def test_the_machine_is_as_fast_as_its_faster_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 2048 x 2048 matrices has 2 * 2048^3 FLOPs, a 3x3 convolution 2 * 9 for each pixel and pair of
    channels; a copy of 2^26 numbers reads and writes 4 bytes of each."""
    for product, convolution, expected in ((2.0, 1.0, 18 * 16 * 32**2 * 256**2), (1.0, 2.0, 2 * 2048**3)):
        seconds = iter([0.5, product, convolution])
        monkeypatch.setattr(floor, "_best", lambda work, device, seconds=seconds: (work(), next(seconds))[1])  # noqa: ARG005
        assert floor.peaks(CPU) == (expected, 2 * 4 * 2**26 / 0.5)


def test_a_ratio_is_that_of_the_medians_and_its_range_goes_over_rounds() -> None:
    measured = ratio([30.0, 50.0, 40.0], [10.0, 20.0, 10.0])  # by round 3, 2.5, 4
    assert measured == (4.0, 2.5, 4.0)
    assert measured.text(1, unit="x") == "4.0x (2.5-4.0)"
    assert spread([1000.0, 4000.0, 2000.0, 3000.0]) == (2500.0, 1000.0, 4000.0)
    assert spread([1000.0, 4000.0, 2000.0]).text(0) == "2,000 (1,000-4,000)"


def test_a_ratio_needs_the_same_rounds_on_both_sides() -> None:
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


class Simulated:
    """A clock, and contenders that move it: each needs so many seconds for an image."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slices: list[tuple[str, float]] = []

    def contender(self, name: str, seconds_per_image: list[float]) -> Work:
        def work(seconds: float) -> int:
            self.slices.append((name, seconds))
            images = max(1, round(seconds / seconds_per_image[0]))
            self.now += images * seconds_per_image.pop(0)
            return images

        return work


def test_contenders_take_turns_and_their_warm_up_is_not_counted() -> None:
    simulated = Simulated()
    slow_start, steady = [5.0, 0.1, 5.0, 0.2], [0.5, 0.5, 0.5, 0.5]
    contenders = {"a": simulated.contender("a", slow_start), "b": simulated.contender("b", steady)}
    speeds = interleave(contenders, rounds=2, seconds=10.0, clock=lambda: simulated.now)
    assert simulated.slices == [("a", 2.0), ("a", 10.0), ("b", 2.0), ("b", 10.0)] * 2
    assert speeds["a"] == pytest.approx([10.0, 5.0])
    assert speeds["b"] == pytest.approx([2.0, 2.0])


def test_repeated_steps_stop_when_the_time_is_over_and_all_their_images_count() -> None:
    simulated = Simulated()

    def step() -> int:
        simulated.now += 3.0
        return 7

    assert repeat(step, clock=lambda: simulated.now)(10.0) == 7 * 4
    assert simulated.now == 12.0


def test_a_paired_ratio_has_the_interval_of_the_sign_test() -> None:
    # Machine and work slow down together, tenfold over the pairs; the ratios are 1.01 to 1.10, shuffled.
    ratios = [1.04, 1.09, 1.01, 1.10, 1.02, 1.06, 1.08, 1.03, 1.07, 1.05]
    plain = [float(speed) for speed in range(1, 11)]
    found = paired_ratio([ratio * below for ratio, below in zip(ratios, plain, strict=True)], plain)
    assert found.median == pytest.approx(1.055)
    # The median of 10 lies below the second or above the ninth with 2 (1 + 10) / 1024, beyond the third with 10.9 %.
    assert [found.low, found.high] == pytest.approx([1.02, 1.09])
    assert found.confidence == pytest.approx(1 - 22 / 1024)


def test_few_pairs_have_their_range_and_its_confidence() -> None:
    assert paired_ratio([3.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == pytest.approx((1.5, 1.0, 2.0, 0.75))
    assert paired_ratio([3.0], [2.0]) == pytest.approx((1.5, 1.5, 1.5, 0.0))


@pytest.fixture(scope="module")
def report() -> Report:
    return lenet.measure(count=512, rounds=2, seconds=0.02)


@pytest.mark.slow
def test_the_json_of_lenet_holds_every_number_that_is_documented(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BENCHES, "lenet", lambda: report)
    numbers = json.loads(run_benches(["lenet"], as_json=True, say=print))["lenet"]
    assert set(numbers) == {"machine", "settings", "images_per_second", "ratios"}
    assert {"processor", "threads", "python", "torch", "torchvision", "load"} <= set(numbers["machine"])
    assert numbers["settings"] == {"images": 512, "batch_size": 128, "rounds": 2, "seconds": 0.02, "epochs": 20}
    assert set(numbers["images_per_second"]) == {"default", "kept"}
    for speeds in numbers["images_per_second"].values():
        assert set(speeds) == CONTENDERS
        assert all(len(by_round) == 2 and min(by_round) > 0 for by_round in speeds.values())
    between = {"ours / reference", "ours / reference, default", "ours / reference, crop", "ours, steps / bare"}
    assert set(numbers["ratios"]) == between | {f"kept / default, {name}" for name in CONTENDERS}


@pytest.mark.slow
def test_ours_pays_for_the_teachers_pass_and_the_headline_is_under_one_allocator(report: Report) -> None:
    kept = report.numbers["images_per_second"]["kept"]
    for ours, steps, once in zip(kept["ours"], kept["ours, steps"], kept["teacher pass"], strict=True):
        seconds = 60_000 * 20 / steps + 60_000 / once  # of a run: all its steps, and the teacher once
        assert ours == pytest.approx(60_000 * 20 / seconds)
    headline = report.numbers["ratios"]["ours / reference"]
    assert headline["median"] == pytest.approx(statistics.median(kept["ours"]) / statistics.median(kept["reference"]))
    assert headline["low"] <= headline["median"] <= headline["high"]
    shown = f"ours / reference = {headline['median']:.1f}x ({headline['low']:.1f}-{headline['high']:.1f})"
    assert report.text.splitlines()[0] == f"lenet: {shown}"


@pytest.mark.slow
def test_resnet_compares_within_one_allocator_unless_it_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Capacity(preset="smoke", members=3).config()
    monkeypatch.setattr(resnet, "study_config", lambda: config.model_copy(update={"epochs": 1_000_000}))
    report = resnet.measure(count=64, rounds=2, seconds=0.02, device="cpu", compiled=False)
    numbers = json.loads(json.dumps(report.numbers, allow_nan=False))
    speeds, ratios = numbers["images_per_second"], numbers["ratios"]
    assert set(speeds) == {"default", "kept"}
    for by_allocator in speeds.values():
        eager = {"bare", "bare, channels first", "bare, teachers folded"}
        assert set(by_allocator) == eager | {"reference", "ours", "ours, bfloat16"}
    kept, default = ({name: statistics.median(s) for name, s in speeds[key].items()} for key in ("kept", "default"))
    rounds = zip(speeds["kept"]["ours"], speeds["kept"]["reference"], strict=True)
    assert ratios["ours / reference"]["median"] == pytest.approx(statistics.mean(a / b for a, b in rounds))  # of two
    assert ratios["ours / reference"]["confidence"] == 0.5
    assert ratios["ours, kept / reference, default *"]["median"] == pytest.approx(kept["ours"] / default["reference"])
    assert ratios["ours / floor *"]["median"] == pytest.approx(kept["ours"] / numbers["floor"]["images_per_second"])
    assert numbers["settings"] == {"images": 64, "batch_size": 32, "members": 3, "rounds": 2, "seconds": 0.02}
    assert report.text.startswith("resnet: ours / reference = ")


@pytest.mark.slow
def test_crews_are_processes_that_work_at_the_same_time_and_end_with_the_bench() -> None:
    config, others = lenet.study_config(crop=False), set(multiprocessing.active_children())
    with workers.at_work([config], [workers.Crew(processes=2, threads=1)], images=256, device=CPU) as (processes,):
        crew = set(multiprocessing.active_children()) - others
        images = processes.on(0)(0.3)
    assert len(crew) == 2 and not any(process.is_alive() for process in crew)
    assert images > 0 and images % config.batch_size == 0  # 256 images are whole batches


def test_workers_compare_all_runs_together_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, workers.Crew] = {}

    def crews_at_once(
        configs: dict[str, object], crews: dict[str, workers.Crew], *_: object
    ) -> dict[str, dict[str, list[float]]]:
        made.update(crews)
        speeds = dict(zip(crews, ([10.0, 20.0], [8.0, 10.0], [15.0, 40.0]), strict=True))
        return dict.fromkeys(configs, speeds)

    monkeypatch.setattr(workers, "measure_crews", crews_at_once)
    report = workers.measure(rounds=2, device="cpu")
    assert [(crew.processes, crew.threads) for crew in made.values()] == [
        (1, torch.get_num_threads()),
        (1, 1),
        (os.cpu_count(), 1),
    ]
    of = json.loads(json.dumps(report.numbers, allow_nan=False))["ratios"]["lenet5"]
    assert of["side by side / one run"] == {"median": pytest.approx(27.5 / 15), "low": 1.5, "high": 2.0}
    assert of["all threads / one thread"] == {"median": pytest.approx(15 / 9), "low": 1.25, "high": 2.0}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_runs_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "missing_for_compiling", lambda: "no time")
    numbers = workers.measure(images=1000, rounds=1, seconds=0.5, device="cuda").numbers
    for of in numbers["images_per_second"].values():
        assert list(of) == ["one run", "2 side by side", "4 side by side", "8 side by side"]
        assert all(speed > 0 for by_round in of.values() for speed in by_round)


def test_each_of_several_benches_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench that keeps freed memory would change what the next one measures."""
    for name in BENCHES:
        monkeypatch.setitem(BENCHES, name, report_of_its_process)
    several = json.loads(run_benches(["lenet", "resnet", "lenet"], as_json=True, say=print))
    assert list(several) == ["lenet", "resnet"]
    assert len({os.getpid(), *(numbers["process"] for numbers in several.values())}) == 3
    assert json.loads(run_benches(["lenet"], as_json=True, say=print))["lenet"]["process"] == os.getpid()


@pytest.mark.slow
def test_without_the_extras_the_other_benches_still_run() -> None:
    """As where only torch and what it trains with are installed."""
    code = """
import sys

sys.modules |= dict.fromkeys(["psutil", "submitit", "wandb"])
from repro.bench import BENCHES, lenet
from repro.cli import main

BENCHES["resnet"] = lambda: lenet.Report("measured", {})
print([main(["bench", name]) for name in ("resnet", "launch", "wandb")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "measured\n[0, 2, 2]\n", done.stderr
    assert done.stderr.splitlines() == [
        "measuring; keep the machine idle until it is done",
        "repro: bench launch: submitit is not installed: pip install -e '.[slurm]' in the suite's folder",
        "repro: bench wandb: wandb is not installed: pip install -e '.[wandb]' in the suite's folder",
    ]


def test_an_unknown_bench_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="no bench is called 'lenett'; did you mean 'lenet'"):
        run_benches(["lenet", "lenett"], as_json=False, say=print)


NOTES_THE_TIME = """
import subprocess, sys, time
if sys.argv[2] == "child":
    sys.exit(subprocess.call([sys.executable, *sys.orig_argv[1:-1], "itself"]))
with open(sys.argv[1], "w") as file:
    for _ in range(200):
        print(time.monotonic(), file=file)
        time.sleep(0.002)
"""


def test_of_those_who_take_turns_one_works_at_a_time_with_all_that_it_has_started(tmp_path: Path) -> None:
    never = (tmp_path, 1)  # no last turn
    files = [tmp_path / "one", tmp_path / "other"]
    takers = [
        TurnTaker([sys.executable, "-S", "-c", NOTES_THE_TIME, str(file), "child"], os.environ, never) for file in files
    ]
    start = time.perf_counter()
    take_turns(takers, seconds=0.1)
    assert sum(taker.seconds for taker in takers) < time.perf_counter() - start
    noted = [(float(line), file.name) for file in files for line in file.read_text().splitlines()]
    assert len(noted) == 400
    names = [name for _, name in sorted(noted)]
    changes = sum(one != other for one, other in itertools.pairwise(names))
    assert 3 <= changes < 60, "side by side it would be some 200"


def test_a_command_whose_runs_are_done_has_its_turn_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a run").mkdir()
    (tmp_path / "a run" / "summary.json").touch()
    command = [sys.executable, "-S", "-c", NOTES_THE_TIME, str(tmp_path / "times"), "itself"]
    taker = TurnTaker(command, os.environ, (tmp_path, 1))
    assert taker.turn(seconds=0.001)
    assert len((tmp_path / "times").read_text().splitlines()) == 200
    failing = TurnTaker([sys.executable, "-S", "-c", "raise SystemExit(3)"], os.environ, (tmp_path, 1))
    with pytest.raises(RuntimeError, match="has failed: 3"):
        failing.turn(seconds=0.001)


STARTS_ANOTHER = """
import pathlib, subprocess, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(900)"])
time.sleep(900)
"""


def test_what_a_command_starts_while_it_is_killed_does_not_outlive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-S", "-c", STARTS_ANOTHER, str(tmp_path / "now")]
    taker = TurnTaker(command, os.environ, (tmp_path, 1))
    itself = psutil.Process(taker.process.pid)
    itself.resume()
    look, started = TurnTaker._processes, list[psutil.Process]()

    def look_then_let_it_start(self: TurnTaker) -> list[psutil.Process]:
        seen = look(self)
        (tmp_path / "now").touch()
        deadline = time.monotonic() + 300
        while not started:
            assert time.monotonic() < deadline
            started.extend(itself.children())
        return seen

    monkeypatch.setattr(TurnTaker, "_processes", look_then_let_it_start)
    taker.kill()
    assert outlive(started) == []


def test_a_command_that_is_interrupted_at_its_start_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[psutil.Process] = []
    stop = TurnTaker._stop

    def interrupted_once(self: TurnTaker) -> float:
        if not started:
            started.append(psutil.Process(self.process.pid))
            raise KeyboardInterrupt
        return stop(self)

    monkeypatch.setattr(TurnTaker, "_stop", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        TurnTaker([sys.executable, "-S", "-c", "import time; time.sleep(900)"], os.environ, (tmp_path, 1))
    assert outlive(started) == []


@pytest.mark.slow
def test_a_bench_that_is_told_to_stop_leaves_no_process_and_no_promise() -> None:
    """While its two demos take turns: one of them always stands still."""
    bench = subprocess.Popen([sys.executable, "-m", "repro", "bench", "wandb"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    family: list[psutil.Process] = []
    stopped, running = set[int](), False
    while len(stopped) < 2 or not running:
        assert time.monotonic() < deadline and bench.poll() is None
        time.sleep(0.1)
        with contextlib.suppress(psutil.NoSuchProcess):
            itself = psutil.Process(bench.pid)
            family = itself.children(recursive=True)
            demos = [one for one in itself.children() if has_argument(one, "demo")]
            still = {one.pid for one in demos if one.status() == psutil.STATUS_STOPPED}
            stopped |= still
            running = len(still) < len(demos)
    bench.terminate()
    _, err = bench.communicate(timeout=300)
    assert bench.returncode == 1
    assert err.splitlines()[-1] == "repro: interrupted; nothing that was measured is kept"
    assert "Traceback" not in err
    assert outlive(family) == []
