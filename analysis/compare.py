"""Two runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from repro.records import Record, Records
from repro.store import find_id
from repro.tested import Tested


def compare_runs(records: Records, one: str, other: str) -> str:
    """What differs in the configs of two runs, their final metrics, and how their test predictions relate, as text.

    Runs are given by their ids or unique beginnings of these. Raises BadInput if no run, or more than one, matches.
    """
    hint = "only finished runs can be compared; their ids are in a figure's CSV and the report"
    ids = records.ids()
    first, second = (records.record(find_id(name, ids, records.name, hint)) for name in (one, other))
    names = [first.run_id, second.run_id]
    parts = [
        tabulate(_differing(first.config, second.config), headers=["setting", *names], disable_numparse=True)
        if first.run_id != second.run_id
        else f"{first.run_id} is compared with itself",
        tabulate(_metrics(first, second), headers=["metric", *names, "difference"], disable_numparse=True),
        _predictions(records, first, second),
    ]
    return "\n\n".join(parts)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config as dotted keys: `{"model": {"depth": 20}}` -> `{"model.depth": 20}`."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = ((str(index), element) for index, element in enumerate(value))  # type: ignore[assignment]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, element in parts:
        flat |= flatten(element, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[list[str]]:
    first, second = flatten(one), flatten(other)
    keys = list(dict.fromkeys([*first, *second]))
    absent = object()
    differing = [key for key in keys if first.get(key, absent) != second.get(key, absent)]
    return [[key, *(str(side[key]) if key in side else "-" for side in (first, second))] for key in differing]


def _metrics(one: Record, other: Record) -> list[list[str]]:
    first, second = one.summary["metrics"], other.summary["metrics"]
    rows = []
    for name in dict.fromkeys([*first, *second]):
        values = [side.get(name) for side in (first, second)]
        known = None not in values
        difference = f"{values[1] - values[0]:+.4f}" if known else ""
        rows.append([name, *("-" if value is None else f"{value:.4f}" for value in values), difference])
    for name, unit in (("training_images", ""), ("epochs", ""), ("seconds", " s")):
        values = [side.summary.get(name) for side in (one, other)]
        rows.append([name, *("-" if value is None else f"{value:,.0f}{unit}" for value in values), ""])
    return rows


def _predictions(records: Records, one: Record, other: Record) -> str:
    """How often both networks predict the same class on test, and which of the two is right where they differ."""
    first, second = records.predictions(one.run_id), records.predictions(other.run_id)
    labels, others = records.labels(one.run_id), records.labels(other.run_id)
    missing = "Their test predictions are not in the records, or are of different test sets."
    if first is None or second is None or labels is None or others is None:
        return missing
    if not Tested(labels, one.summary.get("test_set")).same_as(Tested(others, other.summary.get("test_set"))):
        return missing
    same = first.top_class == second.top_class
    right = [predicted.top_class == labels for predicted in (first, second)]
    counts = [int(np.sum(~same & right[0])), int(np.sum(~same & right[1]))]
    neither = int(np.sum(~same)) - sum(counts)
    return (
        f"On {len(labels):,} test examples they agree on {np.mean(same):.2%}. Where they differ, {one.run_id} is right "
        f"{counts[0]} times, {other.run_id} {counts[1]} times, neither {neither} times."
    )
