"""`repro bench`: a fair comparison, honest ratios, and numbers that can be read by a program."""

import json
import statistics
import time

import pytest
import torch
from torch.utils.data import DataLoader

from repro.bench import BENCHES, lenet, run_benches
from repro.bench.timing import Report, Work, interleave, ratio, repeat, spread
from repro.data.prepared import MNIST
from repro.errors import BadInput
from repro.training.trainer import Trainer

CONTENDERS = {"reference", "ours", "ours, steps", "teacher pass", "bare", "reference, crop", "ours, crop"}


def test_the_reference_and_ours_train_the_same_network_to_the_same_weights() -> None:
    torch.manual_seed(0)
    images, config = lenet.random_images(1000), lenet.study_config(crop=False)  # 7 batches of 128 and one of 104
    trainer = Trainer(config, {MNIST(): images}, lenet.fresh_teachers(), torch.device("cpu"))
    assert trainer.teachers is not None
    student, teacher = lenet.fresh_network(), lenet.fresh_network()
    student.load_state_dict(trainer.network.state_dict())
    teacher.load_state_dict(trainer.teachers.members[0].state_dict())
    start = torch.nn.utils.parameters_to_vector(student.parameters()).detach().clone()

    trainer.advance(lambda: False)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(config.stream_seed("order", 0)))
    dataset = lenet.PilImages(images.train, crop=False)
    batches = DataLoader(dataset, batch_size=config.batch_size, sampler=order.tolist())
    steps = list(lenet.plain_loop(student, teacher, batches))

    assert [size for size, _, _, _ in steps] == [128] * 7 + [104]
    assert trainer.losses.tolist() == pytest.approx([loss for _, loss, _, _ in steps], rel=1e-6)
    theirs = torch.nn.utils.parameters_to_vector(student.parameters()) - start
    ours = torch.cat([weight.detach().reshape(-1) for weight in trainer.network.parameters()]) - start
    assert (ours - theirs).norm() < 1e-4 * ours.norm()


def test_crop_moves_the_images_of_both_sides() -> None:
    torch.manual_seed(0)
    split = lenet.random_images(8).train
    still, moved = lenet.PilImages(split, crop=False), lenet.PilImages(split, crop=True)
    assert all(torch.equal(still[i][0], still[i][0]) for i in range(8))
    assert any(not torch.equal(still[i][0], moved[i][0]) for i in range(8))
    assert [a.name for a in lenet.study_config(crop=True).augmentation] == ["random_crop"]
    assert lenet.study_config(crop=False).augmentation == ()


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
    calls = []

    def step() -> int:
        calls.append(time.perf_counter())
        time.sleep(0.005)
        return 7

    start = time.perf_counter()
    assert repeat(step)(0.05) == 7 * len(calls)
    assert calls[-1] - start < 0.05 <= time.perf_counter() - start


@pytest.fixture(scope="module")
def report() -> Report:
    return lenet.measure(count=512, rounds=2, seconds=0.02)


def test_the_json_of_lenet_holds_every_number_that_is_documented(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BENCHES:
        monkeypatch.setitem(BENCHES, name, lambda: report)
    numbers = json.loads(run_benches([], as_json=True, say=print))["lenet"]
    assert set(numbers) == {"machine", "settings", "images_per_second", "ratios"}
    assert {"processor", "threads", "python", "torch", "torchvision", "load"} <= set(numbers["machine"])
    assert numbers["settings"] == {"images": 512, "batch_size": 128, "rounds": 2, "seconds": 0.02, "epochs": 20}
    assert set(numbers["images_per_second"]) == {"default", "kept"}
    for speeds in numbers["images_per_second"].values():
        assert set(speeds) == CONTENDERS
        assert all(len(by_round) == 2 and min(by_round) > 0 for by_round in speeds.values())
    between = {"ours / reference", "ours / reference, default", "ours / reference, crop", "ours, steps / bare"}
    assert set(numbers["ratios"]) == between | {f"kept / default, {name}" for name in CONTENDERS}


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


def test_an_unknown_bench_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="no bench is called 'lenett'; did you mean 'lenet'"):
        run_benches(["lenet", "lenett"], as_json=False, say=print)
