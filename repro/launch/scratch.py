"""A node's local disk, for temporary files and copies of the prepared data that many runs read."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from repro.atomic import writing
from repro.launch.request import Order

VARIABLE = "REPRO_SCRATCH"
"""The environment variable with the folder's path; the job's script sets it from the profile's `scratch`."""


def stage(data: Path, orders: Iterable[Order]) -> Path:
    """The folder to read prepared data from: `data`, or if there is scratch, a copy there of what the runs read.

    Raises RunFailed if scratch cannot be written, for example because the node's disk is full.
    """
    if not os.environ.get(VARIABLE) or not data.is_dir():
        return data
    names = {name for order in orders for name in _dataset_names(order.config["data"])}
    source = data.absolute()
    copy = Path(os.environ[VARIABLE]) / f"repro-data-{os.getuid()}" / hashlib.sha256(bytes(source)).hexdigest()[:12]
    with writing(copy):
        copy.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        staged = copy / path.name
        if path.is_file() and path.name.partition(".")[0] in names:  # cifar100.npz, imdb.jsonl.xz; folders are linked
            _copy_if_changed(path, staged)
        elif not os.path.lexists(staged):
            _link(path, staged)
    return copy


def _dataset_names(content: Any) -> Iterator[str]:
    """The names of all data sets in a config given as plain data, at any depth."""
    if isinstance(content, dict):
        if "dataset" in content:
            yield content["dataset"]["name"]
        content = list(content.values())
    if isinstance(content, list):
        for inner in content:
            yield from _dataset_names(inner)


def _copy_if_changed(path: Path, copy: Path) -> None:
    """Copy a file atomically, unless a copy with the same size and modification time exists."""
    there, here = path.stat(), copy.stat() if copy.is_file() and not copy.is_symlink() else None
    if here is not None and (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
        return
    with writing(copy):
        number, name = tempfile.mkstemp(dir=copy.parent, prefix=f".{copy.name}.")
        os.close(number)
        try:
            shutil.copy2(path, name)
            Path(name).replace(copy)
        except OSError:
            Path(name).unlink()
            raise


def _link(path: Path, link: Path) -> None:
    with writing(link), contextlib.suppress(FileExistsError):  # another of our jobs has just made it
        link.symlink_to(path)
