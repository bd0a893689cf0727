"""Download records from W&B into a folder of runs, which the analysis can read like any other."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from wandb.apis.public import Api, Run
from wandb.env import get_cache_dir

from repro.errors import BadInput, RunFailed
from repro.lock import lock_path, lock_when_free
from repro.progress import counted
from repro.store import RunDirectory, Store
from repro.tracking.carried import digest, file_name, unpack
from repro.tracking.check import runs_of


def fetch(entity: str | None, project: str, say: Callable[[str], None]) -> Path:
    """Download the records of all finished runs of a project, and return their folder.

    One request lists a hundred runs. A record is downloaded once (two requests) and kept in W&B's cache folder.
    Requests are sequential, and the client waits if W&B limits their rate. Every downloaded record is checked against
    the run's digest and number of rows in W&B. Only one process at a time changes a folder; others wait for it.

    Raises BadInput if there is no such project, RunFailed if a record is missing, damaged or does not match, and
    wandb.Error if W&B cannot be used.
    """
    api = Api()
    path = f"{entity or api.default_entity}/{project}"
    host: str = urlparse(api.settings["base_url"]).netloc
    folder: Path = get_cache_dir() / "repro" / host.replace(":", "_") / path
    folder.mkdir(parents=True, exist_ok=True)
    with lock_path(folder).open("ab") as lock:
        lock_when_free(
            lock,
            on_wait=lambda: say(f"{path}: waiting, another process is downloading its records to {folder}"),
            while_waiting=lambda: None,
            option="$WANDB_CACHE_DIR",
        )
        everything = runs_of(api, path)
        if everything is None:
            raise BadInput(f"{path}: there is no such project in W&B")
        runs = {run.id: run for run in everything if run.state == "finished"}
        carried = {run_id: run for run_id, run in runs.items() if "record_digest" in run.summary}
        if len(carried) < len(runs):
            lacking = counted(len(runs) - len(carried), "finished run")
            say(f"warning: {path}: left out {lacking} without a record; `repro wandb sync` sends records")
        new = 0
        for run_id, run in carried.items():
            new += _bring(run, RunDirectory(folder / run_id))
        for record in Store(folder).runs():
            if record.run_id not in carried:
                shutil.rmtree(record.path)
    say(f"{path}: {counted(len(carried), 'record')}, {new} of them downloaded now; kept in {folder}")
    return folder


def _bring(run: Run, record: RunDirectory) -> bool:
    """Make sure that the run's record is here. Return whether it had to be downloaded."""
    wanted = run.summary["record_digest"]
    if record.is_done() and digest(record) == wanted:
        return False
    name = file_name(wanted)
    found = list(run.files([name]))
    if not found:
        raise RunFailed(
            f"W&B: run {run.id} lacks its {name}; to send it, remove wandb/{run.id}.checked in your runs folder, then "
            "`repro wandb sync`"
        )
    with tempfile.TemporaryDirectory() as folder:
        found[0].download(root=folder).close()
        unpack((Path(folder) / name).read_bytes(), record)
    rows = len(record.metrics())
    if digest(record) != wanted or rows != run.historyLineCount:
        shutil.rmtree(record.path)
        raise RunFailed(
            f"W&B: run {run.id} shows {run.historyLineCount} rows, but its record has {rows} rows or another digest; "
            "`repro wandb sync` says why"
        )
    return True
