"""Images of a finished generator in a student's data: which, whose, and without labels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import SMALL, runner, small_generator, small_student, small_teacher, student_of_generated_images
from test_resume import CPU, assert_same_record, make
from torch import nn

from repro.config import DataConfig, GeneratedImages, GeneratedStream, Selection, parse_config
from repro.config.override import override
from repro.data.augment_geometric import HorizontalFlip
from repro.data.dataset import Dataset, LabeledData, Split
from repro.data.digits import Digits
from repro.data.image_folder import ImageNet
from repro.data.synthetic_texts import SyntheticTexts
from repro.errors import BadInput, Interrupted
from repro.experiments.augmentation import AugmentationStudy
from repro.experiments.sngan import SNGANStudy
from repro.generative.sampling import ImageSampler, generate, to_uint8
from repro.launch.plan import count_work, images_to_train, parents_first
from repro.launch.request import Request
from repro.optimization.schedules import Linear
from repro.seeds import stream_seed
from repro.training.accumulation import check_shares
from repro.training.batches import smallest_batch
from repro.training.distributed import Ranks
from repro.training.examples import NO_LABEL, assemble
from repro.training.streams import open_streams

STUDENT = student_of_generated_images(images=30)

# Both uses of a generator, and every random stream: 4 of each batch of 16 are fresh, at a temperature of their own.
STREAM = GeneratedStream(generator=small_generator(), share=0.25, temperature=1.0)
FRESH_STUDENT = small_student(
    data=STUDENT.data.model_copy(update={"streams": (STREAM,)}),
    augmentation=(HorizontalFlip(),),
    batch_size=16,
    epochs=1,
)
DATASETS: dict[Dataset, LabeledData] = {SMALL: SMALL.load(Path())}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    generator = small_generator().model.build_generator((1, 8, 8))
    generator(5.0 * torch.randn(64, 4) + 2.0)  # running statistics that differ from those of a batch
    return generator


def test_a_fixed_set_is_the_beginning_of_one_sequence(network: nn.Module) -> None:
    sampler = ImageSampler(network, latent_size=4)
    images = sampler.fixed_set(200, seed=5, device=CPU)
    assert images.shape == (200, 1, 8, 8) and images.dtype == torch.uint8
    assert torch.equal(sampler.fixed_set(150, seed=5, device=CPU), images[:150])
    assert torch.equal(sampler.fixed_set(30, seed=5, device=CPU), images[:30])
    assert not torch.equal(sampler.fixed_set(200, seed=6, device=CPU), images)
    assert len(images.unique(dim=0)) == 200


def test_images_are_those_of_the_network_in_evaluation_mode(network: nn.Module) -> None:
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(128, 4, generator=random)
    expected = network.eval()(latents)  # in [-1, 1]
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = ImageSampler(network, latent_size=4).fixed_set(128, seed=5, device=CPU)
    torch.testing.assert_close(images.double() / 255.0, (expected.double() + 1.0) / 2.0, rtol=0.0, atol=0.502 / 255)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_batch_statistics_are_those_of_training_mode(network: nn.Module) -> None:
    sampler = ImageSampler(network, latent_size=4, batch_statistics=True)
    latents = torch.randn(128, 4, generator=torch.Generator().manual_seed(5))
    drawn = sampler.draw(128, torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn, (network.train()(latents) + 1.0) / 2.0)
    assert not torch.allclose(drawn, generate(network, latents), atol=0.01)


def test_images_with_batch_statistics_leave_those_with_running_ones_as_they_were(network: nn.Module) -> None:
    """One generator may serve a run in both ways, and is read anew from its record when the run is resumed."""
    running = ImageSampler(network, latent_size=4)
    before = running.fixed_set(20, seed=5, device=CPU)
    ImageSampler(network, latent_size=4, batch_statistics=True).draw(16, torch.Generator())
    assert torch.equal(running.fixed_set(20, seed=5, device=CPU), before)


def test_uint8_rounds_to_the_nearest() -> None:
    values = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 254, 255]


def test_generated_images_come_last_and_have_no_label(network: nn.Module) -> None:
    (generated,) = STUDENT.data.generated
    examples = assemble(STUDENT.data, DATASETS, CPU, {generated.generator: network})
    assert len(examples) == 130
    assert (examples.labels[:100] >= 0).all() and (examples.labels[100:] == NO_LABEL).all()
    expected = ImageSampler(network, latent_size=4).fixed_set(30, seed=0, device=CPU)
    assert torch.equal(examples.inputs[100:], expected)


def test_batch_statistics_and_seed_of_a_config_reach_the_sampler(network: nn.Module) -> None:
    """As does `batch_statistics` of a stream; both are the original code's way of drawing."""
    sampler = ImageSampler(network, latent_size=4, batch_statistics=True)
    generator = small_generator()
    fixed = GeneratedImages(generator=generator, images=30, seed=3, batch_statistics=True)
    fresh = STREAM.model_copy(update={"batch_statistics": True})
    data = DataConfig(train=Selection(dataset=SMALL, size=100), generated=(fixed,), streams=(fresh,))
    examples = assemble(data, DATASETS, CPU, {generator: network})
    assert torch.equal(examples.inputs[100:], sampler.fixed_set(30, seed=3, device=CPU))
    (stream,) = open_streams(data, DATASETS, CPU, {generator: network})
    random = torch.Generator().manual_seed(stream_seed(1, 8))
    assert torch.equal(stream.draw(first=8, count=4, seed=1), sampler.draw(4, random))


def test_the_generator_is_a_parent_and_its_work_is_counted() -> None:
    (teacher,) = STUDENT.teachers
    assert STUDENT.parents() == (teacher, small_generator())
    plan = parents_first([Request("a", STUDENT), Request("b", student_of_generated_images(images=10))])
    assert [request.config.kind for request in plan] == ["teacher", "generator", "student", "student"]
    assert plan[1].label == "generator of a"
    assert images_to_train(STUDENT) == 3 * (100 + 30)
    assert images_to_train(small_generator()) == 3 * 4 * 2 * 16
    assert count_work(plan).startswith("4 distinct runs (1 teacher, 2 students, 1 generator), ")


def test_generated_images_count_towards_the_smallest_batch() -> None:
    """100 images and 30 generated ones in batches of 50: 50, 50, 30."""
    assert smallest_batch(STUDENT.model_copy(update={"batch_size": 50}), DATASETS) == 30


def test_a_generator_is_trained_by_one_process() -> None:
    check_shares(small_generator(), Ranks(0, 1))
    with pytest.raises(BadInput, match="a generator is trained by one process"):
        check_shares(small_generator(), Ranks(0, 2))


def test_fresh_images_are_another_draw_at_every_step_and_the_same_one_again(network: nn.Module) -> None:
    data = DataConfig(train=Selection(dataset=SMALL), streams=(STREAM,))
    (stream,) = open_streams(data, DATASETS, CPU, {STREAM.generator: network})
    images = stream.draw(first=8, count=4, seed=1)
    assert images.shape == (4, 1, 8, 8) and images.dtype == torch.float32 and not stream.augmented
    assert images.min() >= 0.0 and images.max() <= 1.0
    assert torch.equal(stream.draw(first=8, count=4, seed=1), images)
    assert not torch.equal(stream.draw(first=12, count=4, seed=1), images)
    assert not torch.equal(stream.draw(first=8, count=4, seed=2), images)
    assert FRESH_STUDENT.parents()[1:] == (small_generator(),)  # once, though it has two uses


def test_policy_gan_is_one_fresh_image_to_four_real_ones_at_temperature_one_beside_four() -> None:
    config = AugmentationStudy(policy="gan").config()
    assert config.stream_counts == (26,) and config.batch_size == 128  # a fifth, rounded
    assert [objective.temperature for objective in config.objectives] == [4.0, 1.0]  # type: ignore[attr-defined]
    (generator,) = config.data.generators
    assert generator == SNGANStudy().config()


def test_a_student_of_generated_images_resumes_to_the_bit(tmp_path: Path) -> None:
    undisturbed = make(tmp_path / "undisturbed", FRESH_STUDENT)
    summary = undisturbed.read_json("summary.json")
    # 130 own images in batches of 12 beside 4 fresh ones; with the last 10 own images come 3.
    assert (summary["training_images"], summary["images_seen"]) == (130, 130 + 10 * 4 + 3)
    for parent in FRESH_STUDENT.parents():  # the same, and made already
        shutil.copytree(tmp_path / "undisturbed" / parent.run_id, tmp_path / "stopped" / parent.run_id)
    worker = runner(tmp_path / "stopped")
    worker.stop.signal = "SIGTERM"
    with pytest.raises(Interrupted):
        worker.make(FRESH_STUDENT, "run")
    assert_same_record(undisturbed, make(tmp_path / "stopped", FRESH_STUDENT))


def test_no_label_reaches_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All images: a subset is stratified, so the labels decide which images are in it.
    config = small_generator(data=DataConfig(train=Selection(dataset=SMALL)))
    clean = make(tmp_path / "clean", config)
    load = Digits.load

    def poisoned(self: Digits, directory: Path) -> LabeledData:
        data = load(self, directory)
        return LabeledData(Split(data.train.inputs, data.train.labels.flip(0)), data.test)

    monkeypatch.setattr(Digits, "load", poisoned)
    dirty = make(tmp_path / "dirty", config)
    assert (clean.path / "model.safetensors").read_bytes() == (dirty.path / "model.safetensors").read_bytes()


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "labels needed": (
        lambda: small_teacher(data=STUDENT.data),
        "the objective cross_entropy needs labels, which generated images do not have",
    ),
    "another image size": (
        lambda: DataConfig(
            train=Selection(dataset=Digits(image_size=28)),
            generated=(GeneratedImages(generator=small_generator(), images=5),),
        ),
        r"digits has images \(1, 8, 8\), digits has \(1, 28, 28\)",
    ),
    "a generator of texts": (
        lambda: small_generator(data=DataConfig(train=Selection(dataset=SyntheticTexts()))),
        "a generator makes images, synthetic_texts holds texts",
    ),
    "a generator of images in files": (
        lambda: small_generator(data=DataConfig(train=Selection(dataset=ImageNet()))),
        "a generator needs its images in memory, imagenet stays in files",
    ),
    "a generator with streams": (lambda: small_generator(data=FRESH_STUDENT.data), "give pools, not streams"),
    "a generator with images to be tested on": (
        lambda: small_generator(data=DataConfig(train=Selection(dataset=SMALL, size=50), validation=20)),
        "a generator is tested on no images",
    ),
    "a generator that warms up to its end": (
        lambda: small_generator(schedule=Linear(warmup_epochs=3)),
        "warmup_epochs 3 must be below epochs 3",
    ),
    "a generator as a teacher": (lambda: small_student(teachers=(small_generator(),)), "teacher"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused(name: str) -> None:
    make_config, problem = BAD[name]
    with pytest.raises(ValueError, match=problem):
        make_config()


def test_a_config_with_generated_images_survives_json_and_dotted_keys() -> None:
    assert parse_config(STUDENT.model_dump(mode="json")) == STUDENT
    changed = override(STUDENT, {"data.generated.images": 7, "data.generated.generator.epochs": 2})
    (generated,) = changed.data.generated
    assert (generated.images, generated.generator.epochs) == (7, 2)
    with pytest.raises(BadInput, match=r"unknown config key 'data\.generated\.0\.imges'.*'data\.generated\.0\.images'"):
        override(STUDENT, {"data.generated.imges": 7})
    with pytest.raises(BadInput, match=r"config key 'kind' is 'generater'; did you mean 'generator'"):
        parse_config(small_generator().model_dump(mode="json") | {"kind": "generater"})
