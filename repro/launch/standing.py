"""The state of each run of a plan, and thus which runs are to be made now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from repro.launch.request import Request
from repro.launch.slurm_queue import Task
from repro.store import Store

Stand = Literal["done", "queued", "running", "failed", "blocked", "to make"]


@dataclass(frozen=True)
class Standing:
    """`queued`: in Slurm's queue. `failed`, `blocked` (a parent failed or is blocked): left alone, for `reason`."""

    request: Request
    stand: Stand
    reason: str | None = None


def sort_out(plan: Sequence[Request], store: Store, queued: Mapping[str, Task], retry_failed: bool) -> list[Standing]:
    """The standing of each run of a plan (ordered parents first). Failed runs are made again only if `retry_failed`."""
    found: dict[str, Standing] = {}
    for request in plan:
        standing = _look(request, store, queued, retry_failed)
        if standing.stand == "to make":
            for kind, run_id in request.parents:
                if found[run_id].stand in ("failed", "blocked"):
                    standing = Standing(request, "blocked", f"its {kind} {run_id} failed")
        found[request.run_id] = standing
    return list(found.values())


def _look(request: Request, store: Store, queued: Mapping[str, Task], retry_failed: bool) -> Standing:
    """The standing of a run, regardless of its parents."""
    run = store.run(request.run_id)
    task = queued.get(request.run_id)
    if not run.path.is_dir():  # true of most runs of a new sweep
        return Standing(request, "queued" if task is not None else "to make")
    state = run.state()
    if state in ("done", "running"):
        return Standing(request, state)
    failure = run.last_failure() if state == "failed" else None
    if task is not None and (failure is None or _is_earlier(failure["time"], task.submitted)):
        return Standing(request, "queued")  # a later failure is from this job, which is still making other runs
    if failure is None or failure["parent"] is not None:
        return Standing(request, "to make")  # failed because of its parent: tried once that is no longer failed
    if retry_failed:
        return Standing(replace(request, forgiven=failure["time"]), "to make")
    return Standing(request, "failed", failure["error"])


def _is_earlier(time: str, other: str) -> bool:
    return datetime.fromisoformat(time) <= datetime.fromisoformat(other)
