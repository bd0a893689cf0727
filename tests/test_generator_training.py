"""The training of a generator: exact resume, what each step does, its record."""

import copy
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from runs import SMALL, runner, small_generator
from safetensors.torch import load_file
from test_resume import CPU, make
from torch import Tensor

from repro.config import DataConfig, GeneratorConfig, Selection
from repro.data.augment_geometric import HorizontalFlip
from repro.data.dataset import Dataset, LabeledData, Split
from repro.errors import BadInput, Interrupted, RunFailed
from repro.generative.sngan import SNGAN
from repro.optimization.optimizers import Adam
from repro.runner import Runner
from repro.store import Store
from repro.training.generator_trainer import SAMPLES, GeneratorTrainer

# Every random stream is in use, the average moves, and passes over the 50 images end within epochs and steps.
BUSY = small_generator(augmentation=(HorizontalFlip(),), ema_decay=0.8)
RECORD = ("metrics.jsonl", "model.safetensors", "samples.safetensors", "samples.png", "config.json")


def trainer(config: GeneratorConfig) -> GeneratorTrainer:
    return GeneratorTrainer(config, {SMALL: SMALL.load(Path())}, CPU, {})


def parameters(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("undisturbed"), BUSY).path


@pytest.mark.parametrize("stops", [(1,), (4, 1), (3, 2, 2)])
def test_a_generator_stopped_and_continued_ends_like_one_that_never_was(
    stops: tuple[int, ...], undisturbed: Path, tmp_path: Path
) -> None:
    for stop in stops:
        worker = runner(tmp_path)
        steps = 0

        def pause_after(count: int = 1, stop: int = stop, worker: Runner = worker) -> None:
            nonlocal steps
            steps += count
            if steps == stop:
                worker.stop.signal = "SIGTERM"

        worker.progress.step = pause_after  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            worker.make(BUSY, "run")
    assert Store(tmp_path).run(BUSY.run_id).checkpoint()["trainer"]["position"] == sum(stops) % 4  # type: ignore[index]
    resumed = make(tmp_path, BUSY)
    for name in RECORD:
        assert (resumed.path / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_record_holds_rows_the_generator_and_its_samples(undisturbed: Path) -> None:
    run = Store(undisturbed.parent).run(undisturbed.name)
    rows = run.metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"train/generator_loss", "train/discriminator_loss"} <= set(rows[-1])
    summary = run.read_json("summary.json")
    assert summary["kind"] == "generator" and summary["steps"] == 12
    # 24 batches of at most 16 out of 50 images: six passes of 16, 16, 16 and 2.
    assert summary["images_seen"] == rows[-1]["images_seen"] == 6 * 50
    grid = torch.from_numpy(np.array(Image.open(undisturbed / "samples.png")))
    images = load_file(undisturbed / "samples.safetensors")["images"]
    assert images.shape == (SAMPLES, 1, 8, 8) and images.dtype == torch.uint8
    assert torch.equal(grid[1:9, 1:9, 0], images[0, 0]) and torch.equal(grid[10:18, 19:27, 0], images[8 + 2, 0])
    network = BUSY.model.build_generator((1, 8, 8))
    network.load_state_dict(run.weights())
    latents = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(BUSY.stream_seed("samples")))
    with torch.no_grad():
        expected = 127.5 * (network.eval()(latents) + 1.0)  # of the average, with its running statistics
    assert (images - expected).abs().max() < 0.51
    assert run.config() == BUSY


def test_the_learning_rate_falls_in_a_straight_line_for_both_networks() -> None:
    run = trainer(small_generator())
    seen = []
    run.advance(lambda: seen.append([o.param_groups[0]["lr"] for o in run.optimizers.values()]) or False)  # type: ignore[func-returns-value]
    run.advance(lambda: False), run.advance(lambda: False)
    expected = [2e-3 + (1e-6 - 2e-3) * step / 12 for step in range(4)]
    np.testing.assert_allclose(seen, [[rate, rate] for rate in expected])
    assert run.row()["learning_rate"] == pytest.approx(2e-3 + (1e-6 - 2e-3) * 11 / 12)


def test_each_generator_step_follows_so_many_of_the_discriminator() -> None:
    run = trainer(small_generator(discriminator_steps=5))
    run.advance(lambda: True)
    counts = {
        name: {int(state["step"]) for state in optimizer.state.values()} for name, optimizer in run.optimizers.items()
    }
    assert counts == {"generator": {1}, "discriminator": {5}}


def test_a_step_of_one_network_leaves_the_weights_of_the_other_alone() -> None:
    run = trainer(small_generator())
    generator, discriminator = parameters(run.generator), parameters(run.discriminator)
    run._discriminator_step(torch.rand(16, 1, 8, 8))
    assert all(torch.equal(value, generator[name]) for name, value in run.generator.named_parameters())
    moved = parameters(run.discriminator)
    assert not all(torch.equal(value, discriminator[name]) for name, value in moved.items())
    run._generator_step()
    assert all(torch.equal(value, moved[name]) for name, value in run.discriminator.named_parameters())
    assert not all(torch.equal(value, generator[name]) for name, value in run.generator.named_parameters())


def test_a_step_of_each_network_descends_the_hinge_loss_of_its_own_images() -> None:
    """The losses by hand, for a batch of three real images and as many generated ones."""
    run = trainer(small_generator())
    generator, discriminator = copy.deepcopy((run.generator, run.discriminator))
    random = torch.Generator()
    random.set_state(run.random["latents"].get_state())
    real = torch.rand(3, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        fake = generator(torch.randn(3, 4, generator=random))
        scores = discriminator(torch.cat([real, fake]))
    expected = (1 - scores[:3]).clamp(min=0).mean() + (1 + scores[3:]).clamp(min=0).mean()
    torch.testing.assert_close(run._discriminator_step(real), expected)

    discriminator = copy.deepcopy(run.discriminator)
    with torch.no_grad():
        expected = -discriminator(generator(torch.randn(16, 4, generator=random))).mean()
    torch.testing.assert_close(run._generator_step(), expected)


def test_a_row_has_the_mean_loss_of_each_network_over_the_steps_of_the_epoch() -> None:
    class Watched(GeneratorTrainer):
        seen: ClassVar[dict[str, list[float]]] = {"generator": [], "discriminator": []}

        def _generator_step(self) -> Tensor:
            loss = super()._generator_step()
            self.seen["generator"].append(float(loss))
            return loss

        def _discriminator_step(self, real: Tensor) -> Tensor:
            loss = super()._discriminator_step(real)
            self.seen["discriminator"].append(float(loss))
            return loss

    run = Watched(small_generator(), {SMALL: SMALL.load(Path())}, CPU, {})
    run.advance(lambda: False)
    assert {name: len(losses) for name, losses in run.seen.items()} == {"generator": 4, "discriminator": 8}
    row = run.row()
    for name, losses in run.seen.items():
        assert row[f"train/{name}_loss"] == pytest.approx(np.mean(losses), rel=1e-5), name


def test_every_pass_over_the_real_images_comes_in_another_order() -> None:
    run = trainer(small_generator())  # 50 images in batches of 16, 16, 16 and 2
    batches = run._real_batches(0)
    passes = [torch.cat([next(batches) for _ in range(4)]).flatten(1).tolist() for _ in range(3)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(passes[2])
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_the_average_generator_by_hand() -> None:
    run = trainer(BUSY)
    seen: list[dict[str, Tensor]] = []
    run.advance(lambda: seen.append({k: v.clone() for k, v in run.generator.state_dict().items()}) or False)  # type: ignore[func-returns-value]
    kept = run.result().weights
    for name, first in seen[0].items():
        if first.is_floating_point():
            average = first.double()  # the first step's weights start it
            for later in seen[1:]:
                average = 0.8 * average + 0.2 * later[name].double()
            torch.testing.assert_close(kept[name].double(), average, rtol=1e-5, atol=1e-7)
    assert not torch.equal(kept["linear.weight"], seen[-1]["linear.weight"])


def test_the_generator_learns_what_the_images_have_in_common() -> None:
    """Left halves white, right halves black: after a short training so are the samples."""
    images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    images[..., :4] = 255
    split = Split(images, torch.zeros(64, dtype=torch.int64))
    data: dict[Dataset, LabeledData] = {SMALL: LabeledData(split, Split(images[:0], torch.zeros(0)))}
    config = small_generator(
        data=DataConfig(train=Selection(dataset=SMALL)),
        model=SNGAN(latent_size=4, generator_width=8, discriminator_width=8),
        epochs=1,
        steps_per_epoch=60,
    )
    run = GeneratorTrainer(config, data, CPU, {})
    run.advance(lambda: False)
    samples = run.result().tensors["samples"]["images"].float() / 255.0
    assert samples[..., :4].mean() > 0.75 and samples[..., 4:].mean() < 0.35


def test_a_diverging_generator_stops_with_step_and_cause() -> None:
    run = trainer(small_generator())
    with torch.no_grad():
        run.generator.to_image[2].bias.fill_(torch.nan)  # type: ignore[index,union-attr]
    with pytest.raises(RunFailed, match=r"not finite at generator step 0 of 12.*lower optimizer\.learning_rate"):
        run.advance(lambda: False)


def test_a_generator_that_the_last_step_destroyed_is_a_failure_and_no_result(tmp_path: Path) -> None:
    once = {"epochs": 1, "steps_per_epoch": 1, "discriminator_steps": 1}
    config = small_generator(optimizer=Adam(learning_rate=1e15, beta1=0.0, beta2=0.9), **once)
    with pytest.raises(RunFailed, match=r"images are not finite after step 1.*lower optimizer\.learning_rate"):
        runner(tmp_path).make(config, "run")
    run = Store(tmp_path).run(config.run_id)
    assert run.state() == "failed" and not list(run.path.glob("samples*"))


def test_images_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    from repro.data.digits import Digits

    config = small_generator(data=DataConfig(train=Selection(dataset=Digits(image_size=9))))
    with pytest.raises(BadInput, match="not 9x9"):
        runner(tmp_path / "runs").check([config])
    assert not (tmp_path / "runs").exists()
