"""Convert a public archive of texts to the prepared file of `repro.data.texts`."""

import json
import lzma
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from repro.data.texts import Archive, PreparedTexts


def prepare_texts(dataset: PreparedTexts, archive: Archive, folder: Path, path: Path) -> str:
    """Download the archive into `folder` and convert it to the file `path`. Returns the file's counts in words.

    Raises OSError, RuntimeError (wrong checksum) or ValueError on failure, in which case `path` is left unchanged.
    """
    from torchvision.datasets.utils import download_url

    download_url(archive.url, folder, "archive.tar.gz", archive.md5)
    lines = _texts(folder / "archive.tar.gz", archive.folder, dataset.class_names)
    partial = folder / path.name
    with partial.open("wb") as file:
        with lzma.open(file, "wb") as compressed:
            compressed.writelines(f"{json.dumps(line, ensure_ascii=False)}\n".encode() for line in lines)
        file.flush()
        os.fsync(file.fileno())
    train, test = dataset.read(partial)
    partial.replace(path)
    return f"{len(train)} train and {len(test)} test texts"


def _texts(path: Path, folder: str, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """The labelled texts of the archive, sorted by split, label and id, whatever their order in the archive."""
    texts = []
    with tarfile.open(path) as archive:
        for member in archive:
            match PurePosixPath(member.name).parts:
                case (root, ("train" | "test") as split, label, name) if root == folder and label in labels:
                    content = archive.extractfile(member)
                    if content is None:
                        raise ValueError(f"{member.name} is not a file")
                    text = content.read().decode("utf-8")
                    texts.append({"split": split, "label": label, "id": int(name.partition("_")[0]), "text": text})
    return sorted(texts, key=lambda text: (text["split"], text["label"], text["id"]))
