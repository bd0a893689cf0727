"""Where numbers come from: cost, hardware, commits, and how the runs depart from the paper's protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.compare import flatten
from repro.config import parse_config
from repro.experiments.study import find_study, parse_study
from repro.launch.plan import examples_of
from repro.records import Record

NOT_PROTOCOL = ("evaluate_every", "seed")


@dataclass(frozen=True)
class Deviation:
    """A config key with the paper's value and ours, or a number of images that our data files do not have."""

    key: str
    paper: str
    ours: str


@dataclass(frozen=True)
class Provenance:
    """hours: process hours of training. machines, commits: as recorded by the runs; `*`: with local changes; code that
    was in no git checkout is given by the hash of its content."""

    runs: int
    hours: float
    machines: Sequence[str]
    commits: Sequence[str]
    deviations: Sequence[Deviation]


def provenance(runs: Sequence[Record], studies: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Provenance:
    """The provenance of these runs; `studies` maps the runs to compare with the paper to their studies and settings."""
    unique = {run.run_id: run for run in runs}
    attempts = [attempt for run in unique.values() for attempt in run.attempts]
    found: dict[Deviation, None] = {}
    for run in unique.values():
        if run.run_id in studies:
            found |= dict.fromkeys(deviations(run, *studies[run.run_id]))
    return Provenance(
        runs=len(unique),
        hours=sum(run.summary.get("seconds") or 0.0 for run in unique.values()) / 3600,
        machines=sorted({_machine(attempt["machine"]) for attempt in attempts}),
        commits=sorted({_commit(attempt["code"]) for attempt in attempts}),
        deviations=list(found),
    )


def deviations(run: Record, study: str, settings: Mapping[str, Any]) -> list[Deviation]:
    """Where the run's config differs from the one that the same settings give at preset `paper`."""
    paper_study = parse_study(find_study(study), {**settings, "preset": "paper"})
    paper = _protocol(paper_study.config().model_dump(mode="json"))
    config = parse_config(dict(run.config))
    ours = _protocol(config.model_dump(mode="json"))  # keys newer than the run have their defaults
    keys = [key for key in dict.fromkeys([*paper, *ours]) if paper.get(key) != ours.get(key)]
    found = [Deviation(key, _text(paper.get(key)), _text(ours.get(key))) for key in keys]
    asked, trained = examples_of(config), run.summary.get("training_images")
    exact = all(selection.classes is None for selection in config.data.selections)
    if exact and asked is not None and trained is not None and asked != trained:
        key = "images distilled on (as found in the data files)"
        found.append(Deviation(key, f"{asked:,}", f"{trained:,}"))
    return found


def _protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as dotted keys, with ensemble members as one, without keys that are not part of the protocol."""
    flat = {re.sub(r"(^|\.)teachers\.\d+\.", r"\1teachers.", key): value for key, value in flatten(config).items()}
    return {key: value for key, value in flat.items() if key.split(".")[-1] not in NOT_PROTOCOL}


def _text(value: Any) -> str:
    return "all" if value is None else str(value)


def _commit(code: Mapping[str, Any]) -> str:
    if code["commit"] is None:
        return f"no commit (content {code['content']})"
    return str(code["commit"])[:7] + "*" * bool(code["dirty"])


def _machine(machine: Mapping[str, Any]) -> str:
    parts = (machine["processor"], f"{machine['threads']} thread(s)", machine["device"], f"torch {machine['torch']}")
    return ", ".join(parts)
