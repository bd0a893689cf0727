"""`prepare`: torchvision's own download and parsing, on small archives in the published formats."""

import time
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from prepared_arrays import Arrays, arrays_for
from processes import PATIENCE, Process
from published_archives import Server, publish

from repro.data.dataset import Dataset
from repro.data.prepare import DOWNLOADS, prepare, prepared_datasets
from repro.data.prepared import ARRAYS, FashionMNIST, PreparedDataset
from repro.errors import BadInput, RunFailed

NAMES = ["mnist", "fashion_mnist", "emnist", "cifar10", "cifar100", "svhn"]
TRAIN, TEST = 20, 7
Publish = Callable[[str], Arrays]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Publishes random images as the data set of the name given, and returns what its file must hold."""

    def publish_random(name: str) -> Arrays:
        arrays = arrays_for(prepared_datasets()[name], TRAIN, TEST)
        publish(name, arrays, server, monkeypatch)
        return arrays

    return publish_random


@pytest.fixture
def said() -> list[str]:
    return []


def refusal(name: str, directory: Path, said: list[str]) -> str:
    """The message of the RunFailed that `prepare` ends with: one line, with the way out."""
    with pytest.raises(RunFailed) as caught:
        prepare(name, directory, said.append)
    message = str(caught.value)
    assert message.startswith(f"{name} could not be prepared: ")
    assert message.endswith(f"its prepared file can be copied to {directory / name}.npz instead")
    assert "\n" not in message
    return message


def test_what_a_killed_process_left_is_removed_by_the_next(published: Publish, tmp_path: Path, said: list[str]) -> None:
    published("mnist")

    def begin(pipe: Connection) -> None:
        def stay(line: str) -> None:
            pipe.send(line)
            time.sleep(PATIENCE)

        prepare("mnist", tmp_path, stay)

    killed, living = Process(begin), Process(begin)
    assert {killed.hear(), living.hear()} == {"mnist: downloading"}
    killed.kill()
    path = prepare("mnist", tmp_path, said.append)
    ours, theirs = sorted(tmp_path.iterdir(), key=lambda left: left != path)
    assert ours == path and theirs.is_dir()
    living.kill()
    path.unlink()
    prepare("mnist", tmp_path, said.append)
    assert list(tmp_path.iterdir()) == [path]


# -- what is promised --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_prepared_file_holds_the_published_images_and_labels(
    name: str, published: Publish, tmp_path: Path, said: list[str]
) -> None:
    arrays = published(name)
    path = prepare(name, tmp_path / "new" / "data", said.append)
    assert path == tmp_path / "new" / "data" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == sorted(ARRAYS)
        for key in ARRAYS:
            assert file[key].dtype == arrays[key].dtype
            np.testing.assert_array_equal(file[key], arrays[key])
    assert list(path.parent.iterdir()) == [path]  # nothing of the download is left


@pytest.mark.parametrize("name", NAMES)
def test_a_prepared_file_loads_as_its_data_set(name: str, published: Publish, tmp_path: Path, said: list[str]) -> None:
    arrays = published(name)
    prepare(name, tmp_path, said.append)
    dataset = prepared_datasets()[name](name=name)
    loaded = dataset.load(tmp_path)
    assert loaded.train.labels.tolist() == arrays["y_train"].tolist()
    assert loaded.test.inputs.shape == (TEST, *dataset.input_shape)
    assert any(dataset.fingerprint(tmp_path) in line for line in said)
    assert f"{TRAIN} train and {TEST} test images" in said[-1]


def test_the_file_is_not_compressed(published: Publish, tmp_path: Path, said: list[str]) -> None:
    published("mnist")
    with zipfile.ZipFile(prepare("mnist", tmp_path, said.append)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_downloads_nothing_and_says_so(
    name: str, published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published(name)
    path = prepare(name, tmp_path, said.append)
    written = path.stat()
    assert server.requests
    server.requests.clear()
    said.clear()
    assert prepare(name, tmp_path, said.append) == path
    assert server.requests == []
    fingerprint = prepared_datasets()[name](name=name).fingerprint(tmp_path)
    assert said == [f"{path}: already there, fingerprint {fingerprint}"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_damaged_file_is_replaced(published: Publish, tmp_path: Path, said: list[str]) -> None:
    arrays = published("mnist")
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"half a file")
    prepare("mnist", tmp_path, said.append)
    assert f"{path}: truncated, damaged or not an .npz archive" in said[0]
    with np.load(path) as file:
        np.testing.assert_array_equal(file["x_train"], arrays["x_train"])


@pytest.mark.parametrize("name", NAMES)
def test_a_corrupted_archive_is_refused_and_leaves_no_file(
    name: str, published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published(name)
    last = sorted(server.files)[-1]  # of several files, those before it arrive whole
    content = bytearray(server.files[last])
    content[len(content) // 2] ^= 0x01
    server.files[last] = bytes(content)
    assert "corrupted" in refusal(name, tmp_path, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_download_cut_short_is_refused_and_leaves_no_file(
    name: str, published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published(name)
    server.files = {path: content[:-10] for path, content in server.files.items()}
    server.claimed_excess = 10
    refusal(name, tmp_path, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_server_without_the_files_is_reported(
    name: str, published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published(name)
    server.files.clear()
    assert "404" in refusal(name, tmp_path, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_network_is_reported(name: str, published: Publish, server: Server, tmp_path: Path, said: list[str]) -> None:
    published(name)
    server.close()
    assert "Connection refused" in refusal(name, tmp_path, said)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_a_damaged_file_as_it_was(
    published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published("mnist")
    server.files.clear()
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"half a file")
    refusal("mnist", tmp_path, said)
    assert path.read_bytes() == b"half a file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "altered"), [("mnist", "x_train"), ("mnist", "x_test"), ("cifar100", "x_train")])
def test_images_other_than_the_published_are_refused_though_their_archive_is_whole(
    name: str, altered: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]
) -> None:
    arrays = arrays_for(prepared_datasets()[name], TRAIN, TEST)
    publish(name, arrays, server, monkeypatch)
    known = DOWNLOADS[name]
    arrays[altered].flat[1234] ^= 1
    publish(name, arrays, server, monkeypatch)
    monkeypatch.setitem(DOWNLOADS, name, known)
    assert f"{altered} are not the published images" in refusal(name, tmp_path, said)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_other_labels_than_the_data_sets_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]
) -> None:
    arrays = arrays_for(FashionMNIST, TRAIN, TEST)
    arrays["y_test"][0] = 10
    publish("fashion_mnist", arrays, server, monkeypatch)
    assert "y_test has labels 0 to 10, not 0 to 9" in refusal("fashion_mnist", tmp_path, said)
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_nothing_but_what_is_said_is_shown(
    published: Publish, tmp_path: Path, said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    published("cifar10")
    prepare("cifar10", tmp_path, said.append)
    assert capfd.readouterr() == ("", "")
    assert len(said) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifra10", "no data set is called 'cifra10'; did you mean 'cifar10'?"),
        ("imagenet", "'imagenet' cannot be downloaded: lay out its files as docs/imagenet.md says"),
        ("digits", "'digits' has no prepared file"),
    ],
)
def test_a_name_that_cannot_be_prepared_is_refused_before_anything_is_written(
    name: str, hint: str, tmp_path: Path, said: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        prepare(name, tmp_path / "data", said.append)
    assert hint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_place_of_the_file_and_cannot_be_read_is_left_alone(
    published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published("mnist")
    (tmp_path / "mnist.npz").mkdir()
    with pytest.raises(BadInput, match=r"mnist\.npz: exists but cannot be read"):
        prepare("mnist", tmp_path, said.append)
    assert server.requests == [] and said == []


@pytest.mark.parametrize("below", [".", "data"])
def test_a_directory_that_cannot_be_written_to_is_refused(
    below: str, published: Publish, server: Server, tmp_path: Path, said: list[str]
) -> None:
    published("mnist")
    (tmp_path / "file").write_text("in the way")
    directory = tmp_path / "file" / below
    with pytest.raises(BadInput) as caught:
        prepare("mnist", directory, said.append)
    assert str(caught.value).startswith(f"{directory}: cannot write data there (")
    assert server.requests == []


def test_every_prepared_image_data_set_and_no_other_has_a_download() -> None:
    images = {name for name, kind in prepared_datasets().items() if issubclass(kind, PreparedDataset)}
    assert images == set(NAMES) == set(DOWNLOADS)
    assert "digits" in Dataset.registry
