"""A finished record as a single file of its run in W&B, so that the analysis can be done from W&B alone.

The file holds what `repro.records` reads: config, rows, summary, attempts, small attachments, and all predictions on
the test set. Of the predictions on training images it has only the few that figures show. It has no weights.
torch is not imported.
"""

import hashlib
import io
import shutil
import zipfile

from safetensors import safe_open
from safetensors.numpy import save

from repro.atomic import DAMAGED_ZIP, reading, write_atomically
from repro.errors import RunFailed
from repro.store import ATTACHMENTS, RunDirectory

PREDICTIONS = "predictions.safetensors"
SMALL = ("config.json", "environment.json", "metrics.jsonl", *ATTACHMENTS, "summary.json")
"""The summary comes last, so that a record that has one is complete."""


def digest(record: RunDirectory) -> str:
    """SHA-256 of the record's small files; its predictions are determined by the rest."""
    found = hashlib.sha256()
    for name in SMALL:
        path = record.path / name
        if path.exists():
            content = path.read_bytes()
            found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def file_name(digest: str) -> str:
    """The file's name in W&B. It depends on the content, so that a changed record is never mistaken for the old one."""
    return f"record-{digest[:16]}.zip"


def pack(record: RunDirectory) -> bytes:
    """The record as a zip file. Raises Damaged if its predictions are damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if (record.path / PREDICTIONS).exists():
            archive.writestr(PREDICTIONS, _predictions(record))
        for name in SMALL:
            if (record.path / name).exists():
                archive.write(record.path / name, name)
    return buffer.getvalue()


def unpack(content: bytes, record: RunDirectory) -> None:
    """Write the record from the zip file `content`, in place of any old one. Raises RunFailed if that is damaged."""
    if record.path.exists():
        shutil.rmtree(record.path)  # it may hold files that this one lacks
    record.path.mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in (PREDICTIONS, *SMALL) if name in archive.namelist()}
    except DAMAGED_ZIP as error:
        raise RunFailed(f"W&B: the record of run {record.run_id} is damaged ({error})") from error
    for name, member in members.items():
        write_atomically(record.path / name, member)


def _predictions(record: RunDirectory) -> bytes:
    path = record.path / PREDICTIONS
    with reading(path), safe_open(path, "numpy") as file:
        kept = [name for name in file.keys() if not name.startswith("train_")]  # noqa: SIM118  (it is not a mapping)
        return save({name: file.get_tensor(name) for name in kept})
