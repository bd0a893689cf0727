"""Bring one run in W&B up to date with its record on disk."""

import contextlib
import shutil
from pathlib import Path
from typing import Any, cast

import wandb
from wandb.apis.public import Api
from wandb.apis.public.runs import RunNotFoundError

from repro.lock import try_lock
from repro.store import RunDirectory
from repro.tracking.carried import digest, file_name, pack
from repro.tracking.check import check, known
from repro.tracking.description import Destination, job_type, nested_config, tags
from repro.tracking.label import Label
from repro.tracking.pictures import final_pictures
from repro.tracking.under_agent import Point

INIT_SECONDS = 20.0
FINISH_SECONDS = 20.0


class ShownElsewhere(Exception):
    """Another process is sending this run to W&B; two at once would send rows twice."""


class Publication:
    """A run that is open in W&B.

    Its id is the record's. W&B itself is asked what it already has, so a run may be published again, after any
    interruption and by anybody: no row is sent twice, and none is left out. Raises wandb.Error if W&B cannot be reached
    or refuses; raises ShownElsewhere at once if another process with the same folder of runs is publishing this run.

    label: None if unknown. Then, or if W&B has the run's study, its name, group and tags there stay as they are.
    point: the point of the W&B sweep whose page shows the run; omitting it later changes nothing there.
    finish_seconds: how long `finish` waits for W&B to have everything.

    Attributes: `rows`, the record's rows, and `done`, whether it was done, both as of the last `send_rows`.
    """

    def __init__(
        self,
        record: RunDirectory,
        label: Label | None,
        to: Destination,
        point: Point | None = None,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        to.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (to.folder / f"{record.run_id}.lock").open("ab")  # held until it is closed or this process ends
        if not try_lock(self._lock):
            self._lock.close()
            raise ShownElsewhere(record.run_id)
        if label is not None and _has_study(to.path(record.run_id)):
            label = None  # it stays with the study that requested it first
        self.record = record
        self.label = label
        self.folder = to.folder
        self.rows: list[dict[str, Any]] = []
        self.done = False
        self.run = wandb.init(
            project=to.project,
            entity=to.entity,
            id=record.run_id,
            resume="allow",
            name=label.text if label else None,
            group=label.group if label else None,
            job_type=job_type(record),
            tags=tags(label) if label else None,
            config={**(point.parameters if point else {}), **nested_config(record, label)},
            dir=to.folder,
            reinit="create_new",
            mode="online",  # ignores $WANDB_MODE, which is for the commands that make runs
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_SECONDS,
                finish_timeout=finish_seconds,
                finish_timeout_raises=True,
                sweep_id=point.sweep if point else None,
                # The client would record this machine and process, but training may have run elsewhere.
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        self.next_step = self.run.starting_step
        if label is None and not self.run.resumed:
            self.run.name = record.run_id  # instead of a random name from W&B

    def send_rows(self) -> int:
        """Send the rows of `metrics.jsonl` that W&B does not have; return their number."""
        self.done = self.record.is_done()  # read first: once a record is done, its rows are complete
        self.rows = self.record.metrics()
        new = [row for row in self.rows if row["step"] >= self.next_step]
        for row in new:
            self.run.log(known(row), step=row["step"])
            self.next_step = row["step"] + 1
        return len(new)

    def finish(self) -> str | None:
        """Close the run in the state its record had when its rows were last sent, and return what W&B lacks of that.

        A complete run is finished, with its final metrics and pictures; a failed run is failed, with the reason. Any
        other run is marked as preempted, and the next publication resumes it. Raises TimeoutError if W&B does not have
        everything in time.
        """
        with self._lock:
            config, summary = cast(Any, self.run.config), cast(Any, self.run.summary)  # untyped in the client
            # Attempts and machine may have changed since the run was opened.
            config.update(nested_config(self.record, self.label), allow_val_change=True)
            failure = self.record.failure()
            if failure is not None and not self.done:
                summary["failure"] = failure
            elif summary.get("failure") is not None:
                del summary["failure"]  # from an earlier attempt
            sent: str | None = None
            if self.done:
                sent = self._finish_complete()
            else:
                if failure is None:
                    self.run.mark_preempting()
                self.run.finish(exit_code=1)
            # The client silently drops what the server permanently rejects, as when a project is full.
            shown = Api().run(f"{self.run.entity}/{self.run.project}/{self.run.id}")
            problem = check(shown, self.rows, sent, self.folder)
            if problem is None:
                # The client's own copies: this one, and those of earlier attempts, which may be called ...-ID-1.
                for copy in Path(self.run.dir).parents[1].glob(f"run-*-{self.record.run_id}*"):
                    shutil.rmtree(copy, ignore_errors=True)
            return problem

    def abandon(self) -> None:
        """Close the run as failed, because a record cannot be read; missing rows are not sent."""
        with contextlib.suppress(TimeoutError):
            self.run.finish(exit_code=1)
        self._lock.close()

    def _finish_complete(self) -> str:
        """Send what only a complete run has, and return the digest of the record that was sent."""
        self.run.summary.update(known(self.record.read_json("summary.json")["metrics"]))
        pictures = final_pictures(self.record)
        self.run.summary.update({name: wandb.Image(picture) for name, picture in pictures.items()})
        found = digest(self.record)
        carried = Path(self.run.dir) / file_name(found)
        carried.write_bytes(pack(self.record))
        self.run.save(carried, base_path=self.run.dir, policy="now")
        self.run.summary["record_digest"] = found
        self.run.finish(exit_code=0)
        carried.unlink()
        return found


def _has_study(path: str) -> bool:
    """Whether W&B has the run at this path, and knows its study."""
    try:
        return "study" in Api().run(path).config
    except wandb.errors.CommError as error:
        if isinstance(error.exc, RunNotFoundError):
            return False
        raise
