"""`prepare imdb`: a small archive in the published form, served on this machine."""

import io
import json
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from published_archives import Server, md5

from repro.data.prepare import prepare
from repro.data.texts import IMDB, Archive
from repro.errors import RunFailed

FILES = {
    "aclImdb/README": "labels: pos, neg",
    "aclImdb/test/pos/10_9.txt": "ten",
    "aclImdb/test/pos/9_7.txt": "nine<br />café",
    "aclImdb/test/urls_pos.txt": "http://example.org",
    "aclImdb/train/unsup/0_0.txt": "without label",
    "aclImdb/train/pos/0_10.txt": "good",
    "aclImdb/train/neg/1_2.txt": 'bad "film"',
    "aclImdb/train/neg/0_1.txt": "worse",
}
LINES = [
    {"split": "test", "label": "pos", "id": 9, "text": "nine<br />café"},
    {"split": "test", "label": "pos", "id": 10, "text": "ten"},
    {"split": "train", "label": "neg", "id": 0, "text": "worse"},
    {"split": "train", "label": "neg", "id": 1, "text": 'bad "film"'},
    {"split": "train", "label": "pos", "id": 0, "text": "good"},
]


def tar_gz(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        folder = tarfile.TarInfo("aclImdb/train/pos")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    publish(running, monkeypatch, FILES)
    yield running
    running.close()


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    content = tar_gz(files)
    server.files = {"/texts.tar.gz": content}
    monkeypatch.setattr(IMDB, "archive", Archive(f"{server.address}/texts.tar.gz", md5(content), "aclImdb"))


@pytest.mark.usefixtures("server")
def test_the_file_holds_the_labelled_texts_in_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    path = prepare("imdb", tmp_path / "data", said.append)
    assert path == tmp_path / "data" / "imdb.jsonl.xz"
    content = lzma.decompress(path.read_bytes()).decode()
    assert [json.loads(line) for line in content.splitlines()] == LINES
    assert "café" in content
    assert list(path.parent.iterdir()) == [path]
    assert said[-1] == f"{path}: 3 train and 2 test texts, fingerprint {IMDB().fingerprint(tmp_path / 'data')}"
    assert capfd.readouterr() == ("", "")
    data = IMDB(minimum_count=1).load(path.parent)
    assert data.train.labels.tolist() == [0, 0, 1] and data.test.labels.tolist() == [1, 1]


def test_a_second_call_downloads_nothing_and_a_damaged_file_is_replaced(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    path = prepare("imdb", tmp_path, said.append)
    whole = path.read_bytes()
    server.requests.clear()
    prepare("imdb", tmp_path, said.append)
    assert server.requests == [] and "already there" in said[-1]
    path.write_bytes(whole[:-5])
    prepare("imdb", tmp_path, said.append)
    assert server.requests and path.read_bytes() == whole


@pytest.mark.parametrize("spoilt", ["another byte", "cut short", "missing"])
def test_a_download_that_is_not_the_published_archive_is_refused(spoilt: str, server: Server, tmp_path: Path) -> None:
    content = server.files.pop("/texts.tar.gz")
    if spoilt == "another byte":
        server.files["/texts.tar.gz"] = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    elif spoilt == "cut short":
        server.files["/texts.tar.gz"] = content[:-10]
    with pytest.raises(RunFailed) as caught:
        prepare("imdb", tmp_path, lambda _: None)
    message = str(caught.value)
    assert message.startswith("imdb could not be prepared: ") and "\n" not in message
    assert ("404" if spoilt == "missing" else "corrupted") in message
    assert message.endswith(f"its prepared file can be copied to {tmp_path / 'imdb.jsonl.xz'} instead")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_train_texts_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(server, monkeypatch, {"aclImdb/test/pos/0_1.txt": "alone"})
    with pytest.raises(RunFailed, match="holds no train texts"):
        prepare("imdb", tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []
