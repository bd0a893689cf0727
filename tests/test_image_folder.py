"""Folders of image files: what is read, how an image becomes an input, and what is refused."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import CLASSES, TINY, write_images
from PIL import Image
from runs import small_student, small_teacher
from torch import Tensor
from torchvision import transforms

from repro.config import DataConfig, NoiseStream, Selection
from repro.data.augment_geometric import Rotation
from repro.data.augment_mixing import MixUp
from repro.data.dataset import LabeledData, as_input, to_unit_interval
from repro.data.image_folder import ImageFolder, ImageNet
from repro.errors import BadInput, RunFailed
from repro.launch.plan import images_of
from repro.launch.request import Request
from repro.seeds import stream_seed
from repro.training.accumulation import check_shares
from repro.training.distributed import ALONE, Ranks
from repro.training.evaluation import identify
from repro.training.examples import assemble
from repro.training.file_batches import FileBatches, make_batches
from repro.training.inputs import FileInputs, inputs_of_test

CPU = torch.device("cpu")


class AskedToEnd:
    """A reader whose process gets a SIGTERM at each example, which is the seconds that the process then has left."""

    def read(self, number: int, seed: int | None) -> Tensor:  # noqa: ARG002
        os.kill(os.getpid(), signal.SIGTERM)
        return torch.tensor([signal.alarm(0)])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(directory: Path) -> LabeledData:
    return TINY.load(directory)


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    """Files that a test may spoil."""
    return shutil.copytree(directory, tmp_path / "data")


def photo(directory: Path, part: str, number: int) -> Image.Image:
    per_class = {"train": 8, "val": 4}[part]
    path = directory / TINY.folder / part / CLASSES[number // per_class] / f"{number % per_class}.jpg"
    return Image.open(path).convert("RGB")


def file_batches(data: LabeledData, workers: int = 0, augmented: bool = False, **changes: Any) -> FileBatches:
    """Batches of 10, 10 and, unless it is dropped, 4."""
    config = small_teacher(
        data=DataConfig(train=Selection(dataset=TINY)),
        augmentation=(Rotation(degrees=20.0),) if augmented else (),
        batch_size=10,
        **changes,
    )
    examples = assemble(config.data, {TINY: data}, CPU, {})
    batches = make_batches(config, examples, [], torch.Generator(), data.reader, workers)
    assert isinstance(batches, FileBatches)
    return batches


# -- what is read ------------------------------------------------------------------------------------------------------


def test_classes_are_numbered_by_name_and_val_is_the_test_set(data: LabeledData) -> None:
    assert data.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert data.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_test_view_is_torchvisions(directory: Path, data: LabeledData) -> None:
    view = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor()])
    inputs = inputs_of_test(data, 0, CPU)
    assert isinstance(inputs, FileInputs)
    (batch,) = inputs.stream([torch.arange(12)])
    expected = torch.stack([view(photo(directory, "val", number)) for number in range(12)])
    torch.testing.assert_close(batch, expected * 2 - 1, rtol=0, atol=1e-6)


def test_the_train_view_is_torchvisions_and_follows_from_its_seed_alone(directory: Path, data: LabeledData) -> None:
    view = transforms.Compose([transforms.RandomResizedCrop(16), transforms.RandomHorizontalFlip()])
    assert data.reader is not None
    for number in range(8):
        torch.manual_seed(number)
        expected = transforms.functional.pil_to_tensor(view(photo(directory, "train", number)))
        before = torch.get_rng_state()
        assert torch.equal(data.reader.read(number, seed=number), expected)
        assert torch.equal(torch.get_rng_state(), before)  # dropout draws from it


def test_with_the_center_view_training_sees_what_a_test_would(directory: Path) -> None:
    reader = TINY.model_copy(update={"train_view": "center"}).load(directory).reader
    assert reader is not None
    assert torch.equal(reader.read(3, seed=1), reader.read(3, seed=None))


def test_test_sets_are_told_apart_by_what_a_network_sees(directory: Path, copy: Path) -> None:
    def test_set(folder: Path, **changes: Any) -> str:
        return identify(inputs_of_test(TINY.model_copy(update=changes).load(folder), 2, CPU))

    assert test_set(copy) == test_set(directory) == test_set(directory, train_view="center")
    assert test_set(directory, resize=TINY.resize + 1) != test_set(directory)
    for path in (copy / TINY.folder / "val").rglob("*.jpg"):
        Image.eval(Image.open(path), lambda value: 255 - value).save(path)
    assert test_set(copy) != test_set(directory)


def test_imagenet_with_fewer_classes_takes_the_first_by_name(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory / "tiny", tmp_path / "imagenet")
    data = ImageNet(classes=2, image_size=16, resize=20).load(tmp_path)
    assert data.train.labels.tolist() == [0] * 8 + [1] * 8
    assert ImageNet().train_size == 1_281_167 and ImageNet(classes=2).train_size is None
    with pytest.raises(BadInput, match="has 3 class folders, ImageNet needs 1000"):
        ImageNet().fingerprint(tmp_path)


def test_an_incomplete_last_batch_of_files_is_kept_or_dropped(data: LabeledData) -> None:
    sizes = {choice: file_batches(data, last_batch=choice).sizes().tolist() for choice in ("keep", "drop")}
    assert sizes == {"keep": [10, 10, 4], "drop": [10, 10]}
    assert [len(batch.inputs) for batch in file_batches(data, last_batch="drop").epoch(0, 0)] == [10, 10]


def test_work_on_folders_of_which_nobody_knows_how_many_images_they_hold_is_said_to_be_unknown() -> None:
    unknown = Request("unknown", small_teacher(data=DataConfig(train=Selection(dataset=TINY))))
    known = Request("known", small_teacher())
    assert images_of([known]) == "600"
    assert images_of([unknown]) == "an unknown number of"
    assert images_of([known, unknown]) == "600 and an unknown number of"
    assert images_of([]) == "0"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_image_becomes_rgb(copy: Path, mode: str) -> None:
    path = copy / "tiny" / "train" / "apple" / "0.jpg"
    Image.open(path).convert(mode).save(path, format="TIFF" if mode == "CMYK" else "PNG")
    reader = TINY.load(copy).reader
    assert reader is not None and reader.read(0, None).shape == (3, 16, 16)


def test_the_fingerprint_follows_names_classes_and_sizes(directory: Path, copy: Path) -> None:
    original = TINY.fingerprint(directory)
    assert TINY.fingerprint(copy) == original
    folder = copy / "tiny" / "train" / "bear"
    seen = {original}
    (folder / "7.jpg").rename(folder / "8.jpg")
    seen.add(TINY.fingerprint(copy))
    with (folder / "8.jpg").open("ab") as file:
        file.write(b"x")
    seen.add(TINY.fingerprint(copy))
    (folder / "8.jpg").rename(folder.parent / "cup" / "8.jpg")
    seen.add(TINY.fingerprint(copy))
    assert len(seen) == 4


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmented", [False, True])
def test_decoding_here_or_in_two_workers_gives_the_same_batches(data: LabeledData, augmented: bool) -> None:
    before = torch.get_rng_state()
    here, there = (list(file_batches(data, workers, augmented=augmented).epoch(5, 0)) for workers in (0, 2))
    assert [len(batch.indices) for batch in here] == [10, 10, 4]
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    assert torch.cat([batch.indices for batch in here]).sort().values.tolist() == list(range(24))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_is_seen_in_another_view_in_each_epoch_with_its_own_label(data: LabeledData) -> None:
    def by_image(epoch: int) -> torch.Tensor:
        batches = list(file_batches(data).epoch(epoch, 0))
        order = torch.cat([batch.indices for batch in batches])
        assert torch.equal(torch.cat([batch.labels for batch in batches]), data.train.labels[order])
        return torch.cat([batch.inputs for batch in batches])[order.argsort()]

    first, second = by_image(1), by_image(2)
    assert torch.equal(first, by_image(1))
    assert all(not torch.equal(first[i], second[i]) for i in range(24))
    assert data.reader is not None
    seen = data.reader.read(9, stream_seed(1, "view", 9)).unsqueeze(0)
    assert torch.equal(first[9], as_input(seen)[0])


def test_augmentations_follow_on_the_crop_image_by_image(data: LabeledData) -> None:
    (plain,), (turned,) = (list(file_batches(data, augmented=augmented).epoch(1, 2)) for augmented in (False, True))
    for row, index in enumerate(plain.indices.tolist()):
        generator = torch.Generator().manual_seed(stream_seed(1, "augmentation", index))
        unit = (plain.inputs[row : row + 1] + 1) / 2
        expected = Rotation(degrees=20.0)(unit, generator)
        torch.testing.assert_close(turned.inputs[row : row + 1], expected * 2 - 1, rtol=0, atol=1e-6)


def test_the_steps_of_an_epoch_that_goes_on_are_those_of_the_whole(data: LabeledData) -> None:
    whole, rest = list(file_batches(data).steps(5, 0, 4, ALONE)), list(file_batches(data).steps(5, 1, 4, ALONE))
    assert [[len(batch.indices) for batch in step] for step in whole] == [[4, 4, 2], [4, 4, 2], [4]]
    for one, other in zip(whole[1:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a.inputs, b.inputs) and torch.equal(a.indices, b.indices)


def test_steps_and_an_extra_pass_see_the_views_of_their_epoch(data: LabeledData) -> None:
    """Training takes steps: with the views of another epoch, it would see the same crops again and again."""
    epoch = list(file_batches(data).epoch(5, 0))
    for batch, step in zip(epoch, file_batches(data).steps(5, 0, 4, ALONE), strict=True):
        for field in ("inputs", "labels", "indices"):
            assert torch.equal(torch.cat([getattr(piece, field) for piece in step]), getattr(batch, field)), field
    for batch, inputs in zip(epoch, file_batches(data).extra_pass(5), strict=True):
        assert torch.equal(inputs, batch.inputs)


@pytest.mark.parametrize("size", [2, 3])
def test_the_processes_share_every_step_without_gap_or_overlap(data: LabeledData, size: int) -> None:
    whole = list(file_batches(data).steps(5, 0, 4, ALONE))
    shares = [list(file_batches(data).steps(5, 0, 4, Ranks(rank, size))) for rank in range(size)]
    for number, step in enumerate(whole):
        for place, batch in enumerate(step):
            own = shares[place % size][number][place // size]
            assert torch.equal(own.inputs, batch.inputs) and torch.equal(own.labels, batch.labels)
        assert sum(len(share[number]) for share in shares) == len(step)


def test_a_sample_is_seen_as_in_training_and_always_the_same(data: LabeledData) -> None:
    batches = file_batches(data)
    sample, indices = batches.sample(5, seed=3)
    assert indices.tolist() == sorted(indices.tolist()) and len(sample) == 5
    (once,), (twice,) = list(sample.stream([torch.arange(5)])), list(sample.stream([torch.arange(5)]))
    assert torch.equal(once, twice)
    assert data.reader is not None
    views = [data.reader.read(index, stream_seed(3, "view", index)) for index in indices.tolist()]
    assert torch.equal(once, as_input(torch.stack(views)))
    centre = as_input(data.reader.read(int(indices[0]), None).unsqueeze(0))
    assert not torch.equal(once[:1], centre)
    (first,) = batches.first(4).stream([indices[:1]])
    assert torch.equal(first, centre)
    assert to_unit_interval(torch.tensor([255], dtype=torch.uint8)).item() == 1.0 >= once.max()


# -- what is refused ---------------------------------------------------------------------------------------------------


def spoil(copy: Path) -> Iterator[tuple[ImageFolder, str]]:
    """One way of being wrong after the other, and what is said about it."""
    root = copy / "tiny"
    yield TINY.model_copy(update={"folder": "none"}), "none/train: no such folder of images"
    yield TINY.model_copy(update={"classes": 4}), "train: has 3 class folders, but `classes` is 4"
    (root / "train" / "cup" / "notes.txt").touch()
    yield TINY, "train/cup/notes.txt: is not an image file; valid endings: .jpg"
    (root / "train" / "cup" / "notes.txt").unlink()
    (root / "val" / "cup").rename(root / "val" / "dog")
    yield TINY, "tiny: the class cup is in only one of train and val"
    shutil.rmtree(root / "val" / "dog")
    (root / "val" / "cup").mkdir()
    yield TINY, "val/cup: holds no image"


def test_a_folder_that_does_not_fit_is_refused_in_a_line_that_says_where(copy: Path) -> None:
    for dataset, message in spoil(copy):
        for ask in (dataset.fingerprint, dataset.load):
            with pytest.raises(BadInput) as refusal:
                ask(copy)
            assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_workers_that_are_asked_to_end_work_on_for_minutes() -> None:
    """A cluster asks all processes at once; the run stops only after the step or the evaluation under way."""
    inputs = FileInputs(AskedToEnd(), torch.arange(2), (), seed=None, workers=1, device=CPU)
    (seconds,) = inputs.stream([torch.arange(2)])
    assert seconds.shape == (2, 1) and bool((seconds >= 300).all())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named(copy: Path, workers: int) -> None:
    path = copy / "tiny" / "train" / "bear" / "5.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunFailed) as failure:
        list(file_batches(TINY.load(copy), workers).epoch(5, 0))
    assert str(failure.value).startswith(f"{path}: cannot be read as an image (")
    assert "\n" not in str(failure.value)


def of_16_bits(path: Path) -> None:
    Image.fromarray(np.full((30, 30), 1000, dtype=np.uint16)).save(path, format="PNG")


def with_a_size_that_no_picture_has(path: Path) -> None:
    Image.new("RGB", (30, 30)).save(path, format="BMP")
    content = bytearray(path.read_bytes())
    content[18:22] = (10**7).to_bytes(4, "little")  # the width
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil_image", "cause"),
    [(of_16_bits, "its pixels have more than 8 bits a channel"), (with_a_size_that_no_picture_has, "Image size")],
)
def test_an_image_that_would_be_read_wrongly_is_named(
    copy: Path, spoil_image: Callable[[Path], None], cause: str
) -> None:
    path = copy / "tiny" / "train" / "apple" / "0.jpg"
    spoil_image(path)
    reader = TINY.load(copy).reader
    assert reader is not None
    with pytest.raises(RunFailed, match=rf"apple/0\.jpg: cannot be read as an image \({cause}"):
        reader.read(0, None)


def test_a_link_that_leads_nowhere_is_named(copy: Path) -> None:
    (copy / "tiny" / "train" / "apple" / "9.jpg").symlink_to("moved.jpg")
    with pytest.raises(BadInput, match=r"apple/9\.jpg: cannot be read \(No such file or directory\)"):
        TINY.fingerprint(copy)


def test_hidden_files_and_folders_are_no_images_or_classes(directory: Path, copy: Path) -> None:
    (copy / "tiny" / "train" / ".ipynb_checkpoints").mkdir()
    (copy / "tiny" / "train" / "bear" / ".DS_Store").touch()
    assert TINY.fingerprint(copy) == TINY.fingerprint(directory)


def test_configs_that_cannot_be_are_refused() -> None:
    tiny = DataConfig(train=Selection(dataset=TINY))
    with pytest.raises(ValueError, match="image_folder are augmented one at a time, but mixup mixes several"):
        small_student(data=tiny, teachers=(small_teacher(data=tiny),), augmentation=(MixUp(),))
    own, noise = Selection(dataset=TINY), NoiseStream(share=0.5)
    for data in (DataConfig(train=own, pools=(own,)), DataConfig(train=own, streams=(noise,))):
        with pytest.raises(ValueError, match="image_folder stays in files: it cannot be used with"):
            small_student(data=data, teachers=(small_teacher(data=tiny),))
    with pytest.raises(ValueError, match="micro_batch_size 33 is above batch_size 32"):
        small_teacher(micro_batch_size=33)
    with pytest.raises(ValueError, match="resize 10 is below image_size 16"):
        ImageFolder(folder="x", classes=2, image_size=16, resize=10)


def test_more_processes_than_micro_batches_are_refused() -> None:
    with pytest.raises(BadInput, match=r"3 processes cannot share steps of 2 micro-batch.*set micro_batch_size to 3"):
        check_shares(small_teacher(batch_size=10, micro_batch_size=5), Ranks(0, 3))
