"""What every augmentation promises, whatever it does."""

import pytest
import torch
from draws import seeded
from pydantic import ValidationError
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from repro.data import augment_color, augment_geometric, augment_mixing, augment_noise
from repro.data.augmentation import Augmentation, augment

NAMES = (
    "random_crop",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "color_jitter",
    "uniform_noise",
    "mixup",
)
every_augmentation = pytest.mark.parametrize("name", NAMES)


def build(name: str) -> Augmentation:
    augmentation: Augmentation = Augmentation.registry[name]()
    return augmentation


def random_images(batch: int = 16, channels: int = 3, height: int = 10, width: int = 12) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=seeded(99))


def test_the_registry_holds_the_seven_augmentations() -> None:
    assert set(Augmentation.registry) == set(NAMES)


@every_augmentation
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 7])
def test_output_has_the_input_s_shape_and_dtype_and_stays_in_the_unit_range(
    name: str, channels: int, batch: int
) -> None:
    random = random_images(batch, channels)
    for images in (random, random.round(), torch.zeros_like(random), torch.ones_like(random)):
        for seed in range(20):
            output = build(name)(images, seeded(seed))
            assert output.shape == images.shape
            assert output.dtype == torch.float32
            assert ((output >= 0) & (output <= 1)).all()


@every_augmentation
def test_the_input_is_left_as_it_was(name: str) -> None:
    images = random_images()
    before = images.clone()
    output = build(name)(images, seeded(0))
    output.zero_()
    assert torch.equal(images, before)


@every_augmentation
def test_the_generator_alone_decides_the_output(name: str) -> None:
    images = random_images()
    torch.manual_seed(1)
    first = build(name)(images, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(build(name)(images, seeded(3)), first)
    assert not torch.equal(build(name)(images, seeded(4)), first)


@every_augmentation
def test_consecutive_batches_are_changed_differently(name: str) -> None:
    images, generator = random_images(), seeded(0)
    assert not torch.equal(build(name)(images, generator), build(name)(images, generator))


@every_augmentation
def test_the_global_random_state_is_untouched(name: str) -> None:
    before = torch.random.get_rng_state()
    build(name)(random_images(), seeded(0))
    assert torch.equal(torch.random.get_rng_state(), before)


@every_augmentation
def test_the_number_of_draws_depends_only_on_the_shape(name: str) -> None:
    states = set()
    for images in (random_images(), torch.zeros(16, 3, 10, 12), torch.ones(16, 3, 10, 12)):
        generator = seeded(5)
        build(name)(images, generator)
        states.add(generator.get_state().numpy().tobytes())
    assert len(states) == 1


@every_augmentation
def test_nothing_is_read_back_to_the_host(name: str) -> None:
    """Fake tensors have no data: reading a value or a shape that depends on data raises."""
    with FakeTensorMode():
        output = build(name)(torch.rand(8, 3, 10, 12), seeded(0))
    assert output.shape == (8, 3, 10, 12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"mixup"}))
def test_images_are_changed_each_on_its_own(name: str) -> None:
    """Equal images get different changes, and what happens to an image does not depend on its neighbours."""
    same = random_images(1).expand(64, -1, -1, -1)
    together = build(name)(same, seeded(0))
    assert len({image.numpy().tobytes() for image in together}) > 1
    among_black = torch.zeros_like(same)
    among_black[17] = same[17]
    assert torch.equal(build(name)(among_black, seeded(0))[17], together[17])


def test_augmentations_apply_in_the_order_given() -> None:
    images, crop, rotation = random_images(), build("random_crop"), build("rotation")
    generator = seeded(0)
    by_hand = rotation(crop(images, generator), generator)
    assert torch.equal(augment(images, [crop, rotation], seeded(0)), by_hand)
    assert not torch.equal(augment(images, [rotation, crop], seeded(0)), by_hand)


def test_no_augmentation_leaves_the_images() -> None:
    images = random_images()
    assert torch.equal(augment(images, [], seeded(0)), images)


@every_augmentation
def test_only_mixup_declares_that_it_mixes_images(name: str) -> None:
    assert Augmentation.registry[name].mixes_images is (name == "mixup")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random_crop", {"padding": 0}),
        ("random_crop", {"padding": 1.5}),
        ("horizontal_flip", {"p": 1.1}),
        ("vertical_flip", {"p": -0.1}),
        ("rotation", {"degrees": -1.0}),
        ("rotation", {"degrees": 181.0}),
        ("color_jitter", {"hue": 0.6}),
        ("color_jitter", {"brightness": -0.1}),
        ("color_jitter", {"contrast": -0.1}),
        ("color_jitter", {"saturation": float("inf")}),
        ("uniform_noise", {"p": 2.0}),
        ("mixup", {"alpha": 0.0}),
        ("mixup", {"strength": 1.0}),
    ],
)
def test_options_out_of_bounds_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        Augmentation.registry[name](**options)


def test_defaults_are_the_paper_s() -> None:
    assert augment_geometric.RandomCrop().padding == 4
    assert augment_geometric.HorizontalFlip().p == 0.5
    assert augment_geometric.VerticalFlip().p == 0.5
    assert augment_geometric.Rotation().degrees == 20
    jitter = augment_color.ColorJitter()
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.2, 0.2, 0.2, 0.2)
    assert augment_noise.UniformNoise().p == 0.2
    assert augment_mixing.MixUp().alpha == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_augmentation
def test_on_a_gpu_it_runs_without_waiting_and_repeats_itself(name: str) -> None:
    images = random_images().cuda()
    first = build(name)(images, torch.Generator("cuda").manual_seed(0))  # also warms up
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = build(name)(images, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(output, first)
    assert output.shape == images.shape and output.dtype == torch.float32
    assert ((output >= 0) & (output <= 1)).all()
