"""Read records back from W&B: into a folder of runs, from which everything is computed as from one's own."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from wandb.apis.public import Api, Run
from wandb.env import get_cache_dir

from repro.errors import BadInput, RunFailed
from repro.progress import counted
from repro.store import RunDirectory, Store
from repro.tracking.carried import digest, file_name, unpack

PAGE = 100


def fetch(entity: str | None, project: str, say: Callable[[str], None]) -> Path:
    """Bring the records of all finished runs of a project here, and return their folder.

    One request lists a hundred runs; a record is downloaded once (two requests) and kept in W&B's cache folder. One
    after the other, and where W&B says that it was asked too often, the client waits. Every record is compared with
    what W&B says of the run: its digest, and its number of rows.

    Raises BadInput if there is no such project, RunFailed if a record is not what it should be, wandb.Error where W&B
    cannot be used.
    """
    api = Api()
    path = f"{entity or api.default_entity}/{project}"
    host: str = urlparse(api.settings["base_url"]).netloc
    folder: Path = get_cache_dir() / "repro" / host.replace(":", "_") / path
    try:
        runs = {run.id: run for run in api.runs(path, per_page=PAGE, lazy=False) if run.state == "finished"}
    except ValueError as error:
        raise BadInput(f"{path}: there is no such project in W&B") from error
    carried = {run_id: run for run_id, run in runs.items() if "record_digest" in run.summary}
    if len(carried) < len(runs):
        lacking = counted(len(runs) - len(carried), "finished run")
        say(f"warning: {path}: {lacking} came without a record and is left out; `repro wandb sync` sends it")
    new = 0
    for run_id, run in carried.items():
        new += _bring(run, RunDirectory(folder / run_id))
    for record in Store(folder).runs():
        if record.run_id not in carried:
            shutil.rmtree(record.path)
    say(f"{path}: {counted(len(carried), 'record')}, {new} downloaded, the others were here; kept in {folder}")
    return folder


def _bring(run: Run, record: RunDirectory) -> bool:
    """Have the run's record here; whether it had to be downloaded."""
    wanted = run.summary["record_digest"]
    if record.is_done() and digest(record) == wanted:
        return False
    name = file_name(wanted)
    found = list(run.files([name]))
    if not found:
        raise RunFailed(
            f"W&B: run {run.id} lacks its {name}; remove wandb/{run.id}.checked in your runs, and `repro wandb sync` "
            "sends it"
        )
    with tempfile.TemporaryDirectory() as folder:
        found[0].download(root=folder).close()
        unpack((Path(folder) / name).read_bytes(), record)
    rows = len(record.metrics())
    if digest(record) != wanted or rows != run.historyLineCount:
        shutil.rmtree(record.path)
        raise RunFailed(
            f"W&B: run {run.id} shows {run.historyLineCount} rows, its record holds {rows}, or is another one; "
            "`repro wandb sync` says why"
        )
    return True
