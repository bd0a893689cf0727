"""How each run of a plan stands, and so which are to be made now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from repro.launch.request import Request
from repro.launch.slurm_queue import Task
from repro.store import Store

Stand = Literal["done", "queued", "running", "failed", "blocked", "to make"]


@dataclass(frozen=True)
class Standing:
    """`queued`: in Slurm's queue. `failed`, `blocked`: left alone, for `reason`; a parent of a blocked run failed."""

    request: Request
    stand: Stand
    reason: str | None = None


def sort_out(plan: Sequence[Request], store: Store, queued: Mapping[str, Task], retry_failed: bool) -> list[Standing]:
    """How the runs of a plan, parents first, stand. Failed runs are to be made only if `retry_failed`."""
    found: dict[str, Standing] = {}
    for request in plan:
        stand, reason = _look(request, store, queued, retry_failed)
        if stand == "to make":
            for kind, run_id in request.parents:
                if found[run_id].stand in ("failed", "blocked"):
                    stand, reason = "blocked", f"its {kind} {run_id} failed"
        found[request.run_id] = Standing(request, stand, reason)
    return list(found.values())


def _look(request: Request, store: Store, queued: Mapping[str, Task], retry_failed: bool) -> tuple[Stand, str | None]:
    run = store.run(request.run_id)
    if not run.path.is_dir():  # most runs of a new sweep
        return ("queued", None) if request.run_id in queued else ("to make", None)
    state = run.state()
    if state in ("done", "running"):
        return state, None
    failure = run.last_failure() if state == "failed" else None
    task = queued.get(request.run_id)
    if task is not None and (failure is None or _is_earlier(failure["time"], task.submitted)):
        return "queued", None  # a later failure is of a run whose job still makes others
    if failure is None or failure["parent"] is not None or retry_failed:
        return "to make", None  # what failed for its parent, is tried as soon as that is no longer failed
    return "failed", failure["error"]


def _is_earlier(time: str, other: str) -> bool:
    return datetime.fromisoformat(time) <= datetime.fromisoformat(other)
