"""What `repro launch --dry-run` shows: the runs, how much work they are, and what Slurm would be asked for."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tabulate import tabulate

from repro.launch.plan import count_work
from repro.launch.profile import Profile
from repro.launch.request import Request
from repro.launch.slurm import Array, sbatch_parameters
from repro.launch.standing import Standing
from repro.store import Store


def see_what_is_left(standings: Sequence[Standing], store: Store) -> list[Standing]:
    """Fill in how much of each started run is still to be trained. Raises BadInput if a record is damaged."""
    return [replace(one, request=replace(one.request, left=_left(one.request, store))) for one in standings]


def _left(request: Request, store: Store) -> float:
    """The fraction of a run after its latest row of metrics; a run without a checkpoint starts over."""
    run = store.run(request.run_id)
    latest = run.last_metrics() if (run.path / "checkpoint.pt").exists() else None
    return 1.0 if latest is None else 1.0 - latest["epoch"] / request.config.epochs


def show_runs(standings: Sequence[Standing]) -> str:
    """Counts of runs by kind and status; the work of all runs, and what is left of those that are to be made."""
    stands = sorted({standing.stand for standing in standings})
    counts = Counter((standing.request.config.kind, standing.stand) for standing in standings)
    kinds = sorted({kind for kind, _ in counts}, reverse=True)
    rows: list[list[Any]] = [
        [kind, *(counts[kind, stand] or "" for stand in stands), sum(counts[kind, stand] for stand in stands)]
        for kind in kinds
    ]
    table = tabulate(rows, headers=["runs", *stands, "all"])
    failed = [standing for standing in standings if standing.stand == "failed"]
    failures = [
        f"failed: {standing.request.run_id} ({standing.request.label}): {standing.reason}" for standing in failed
    ]
    work = count_work(replace(standing.request, left=1.0) for standing in standings)
    to_make = [standing.request for standing in standings if standing.stand == "to make"]
    left = count_work(to_make) if to_make else "nothing"
    hint = ["to make them again, add --retry failed"] if failed else []
    return "\n".join([table, "", *failures, *hint, work, *([f"to make: {left}"] if left != work else [])])


def show_jobs(arrays: Sequence[Array], profile: Profile, sweep_name: str) -> str:
    """The arrays that would be submitted, and the options that sbatch would get."""
    if not arrays:
        return "nothing to submit"
    levels = {array.level for array in arrays}
    rows = []
    for array in arrays:
        above = [f"level {array.level - 1}"] if array.level - 1 in levels else []
        after = ", ".join([*above, *array.after_ids])
        rows.append([array.level, len(array.jobs), array.runs, array.parallelism, after])
    headers = ["array of level", "jobs", "runs", "at most at once", "after"]
    parameters = sbatch_parameters(profile, f"repro-{sweep_name}-TOKEN", 0, ())
    others = parameters.pop("additional_parameters")
    del parameters["array_parallelism"]
    parameters["signal"] = f"USR2@{parameters.pop('signal_delay_s')}"
    shown = {key.replace("_", "-"): value for key, value in parameters.items()} | others
    options = " ".join(
        f"--{key}" if value is True else f"--{key}={shlex.quote(str(value))}" for key, value in shown.items()
    )
    packing = f"up to {profile.runs_per_job} runs a job, {profile.runs_at_once} at once, on {profile.job_device}"
    together = f"{profile.processes_per_run} processes a run, " if profile.processes_per_run > 1 else ""
    return f"{tabulate(rows, headers=headers)}\n\n{packing}, {together}{profile.threads} threads each\nsbatch {options}"
