"""Small data sets in the formats in which the real ones are published, served to torchvision.

A server on this machine serves the archives; `publish` replaces torchvision's addresses and MD5 checksums.
"""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import scipy.io
import torchvision
from prepared_arrays import Arrays

from repro.data.prepare import DOWNLOADS


class Server:
    """Serves `files` (path to content) at `address`, and notes which paths were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.claimed_excess = 0  # bytes promised, but not sent, with every file
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + outer.claimed_excess))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


# -- archives in the published formats ---------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """The IDX format (LeCun's MNIST page): magic number with the dimensions, sizes big-endian, bytes."""
    header = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_archives(arrays: Arrays) -> dict[str, bytes]:
    return {
        f"{prefix}-{kind}-ubyte.gz": gzip.compress(idx(arrays[f"{letter}_{part}"]))
        for part, prefix in (("train", "train"), ("test", "t10k"))
        for letter, kind in (("x", "images-idx3"), ("y", "labels-idx1"))
    }


def emnist_archive(arrays: Arrays) -> dict[str, bytes]:
    """One zip of gzipped IDX files, the images transposed, with another split beside the one wanted."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for part in ("train", "test"):
            transposed = np.stack([image.T for image in arrays[f"x_{part}"]])
            for split, images in (("bymerge", transposed), ("balanced", 255 - transposed)):
                prefix = f"gzip/emnist-{split}-{part}"
                archive.writestr(f"{prefix}-images-idx3-ubyte.gz", gzip.compress(idx(images)))
                archive.writestr(f"{prefix}-labels-idx1-ubyte.gz", gzip.compress(idx(arrays[f"y_{part}"])))
    return {"gzip.zip": content.getvalue()}


def cifar_members(name: str, arrays: Arrays) -> dict[str, bytes]:
    """The pickles of the archive: rows of 3,072 bytes, all red, then all green, then all blue."""

    def batch(part: str, rows: slice) -> bytes:
        planes = [arrays[f"x_{part}"][rows, :, :, channel].reshape(-1, 1024) for channel in range(3)]
        key = "labels" if name == "cifar10" else "fine_labels"
        content = {"data": np.concatenate(planes, axis=1), key: arrays[f"y_{part}"][rows].tolist()}
        return pickle.dumps(content, protocol=2)

    everything = slice(None)
    if name == "cifar100":
        meta = pickle.dumps({"fine_label_names": [f"class {label}" for label in range(100)]}, protocol=2)
        return {"train": batch("train", everything), "test": batch("test", everything), "meta": meta}
    fifth = len(arrays["y_train"]) // 5
    members = {
        f"data_batch_{number + 1}": batch("train", slice(number * fifth, (number + 1) * fifth)) for number in range(5)
    }
    meta = pickle.dumps({"label_names": [f"class {label}" for label in range(10)]}, protocol=2)
    return {**members, "test_batch": batch("test", everything), "batches.meta": meta}


def tar_gz(folder: str, members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, member in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(member)
            archive.addfile(entry, io.BytesIO(member))
    return content.getvalue()


def svhn_archives(arrays: Arrays) -> dict[str, bytes]:
    """MATLAB files with X (height, width, channels, n), and y (n, 1) in which 10 stands for the digit 0."""
    files = {}
    for part in ("train", "test"):
        labels = np.where(arrays[f"y_{part}"] == 0, 10, arrays[f"y_{part}"]).astype(np.uint8)
        content = io.BytesIO()
        scipy.io.savemat(content, {"X": np.moveaxis(arrays[f"x_{part}"], 0, 3), "y": labels[:, None]})
        files[f"{part}_32x32.mat"] = content.getvalue()
    return files


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def publish(name: str, arrays: Arrays, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `server` serve `arrays` as data set `name` was published, and torchvision download it there."""
    vision = torchvision.datasets
    if name in ("mnist", "fashion_mnist"):
        kind, files = {"mnist": vision.MNIST, "fashion_mnist": vision.FashionMNIST}[name], mnist_archives(arrays)
        monkeypatch.setattr(kind, "mirrors", [f"{server.address}/"])
        assert {file for file, _ in kind.resources} == set(files)
        monkeypatch.setattr(kind, "resources", [(file, md5(files[file])) for file, _ in kind.resources])
    elif name == "emnist":
        files = emnist_archive(arrays)
        monkeypatch.setattr(vision.EMNIST, "url", f"{server.address}/gzip.zip")
        monkeypatch.setattr(vision.EMNIST, "md5", md5(files["gzip.zip"]))
    elif name in ("cifar10", "cifar100"):
        kind = {"cifar10": vision.CIFAR10, "cifar100": vision.CIFAR100}[name]
        members = cifar_members(name, arrays)
        files = {kind.filename: tar_gz(kind.base_folder, members)}
        monkeypatch.setattr(kind, "url", f"{server.address}/{kind.filename}")
        monkeypatch.setattr(kind, "tgz_md5", md5(files[kind.filename]))
        for members_of in ("train_list", "test_list"):
            listed = [[member, md5(members[member])] for member, _ in getattr(kind, members_of)]
            monkeypatch.setattr(kind, members_of, listed)
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(members[kind.meta["filename"]])})
    else:
        files = svhn_archives(arrays)
        listing = {
            part: [f"{server.address}/{part}_32x32.mat", f"{part}_32x32.mat", md5(files[f"{part}_32x32.mat"])]
            for part in ("train", "test")
        }
        monkeypatch.setattr(vision.SVHN, "split_list", listing)
    server.files = {f"/{file}": content for file, content in files.items()}
    checksums = {part: sha256(arrays[part]) for part in DOWNLOADS[name].sha256}
    monkeypatch.setitem(DOWNLOADS, name, replace(DOWNLOADS[name], sha256=checksums))


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
