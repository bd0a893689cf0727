"""How long runs will take: from records of similar runs, or from the speeds that `repro bench throughput` measured.

The latter is a model: the number of images that pass through each network (`repro.launch.passes`) times the measured
seconds per image. It ignores start-up, data loading, and contention between runs that share a device.
"""

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tabulate import tabulate

from repro.config import RunConfig
from repro.errors import BadInput
from repro.launch.passes import Network, count_passes, network, show_network
from repro.launch.plan import images_of, inputs_of, parents_first
from repro.launch.request import Request
from repro.launch.sweep import read_sweep
from repro.store import RunDirectory, Store
from repro.training.mode import Mode, mode_of

TRAINED = 3
"""Cost of a training step in forward passes: the usual estimate, with a backward pass counted as two."""

Similarity: TypeAlias = tuple[Any, ...]
InMode: TypeAlias = tuple[Network, Mode]


@dataclass(frozen=True)
class Speeds:
    """Seconds per image on one machine, for training on labels and for the forward pass alone, by network and mode."""

    path: Path
    processor: str
    """The name of the GPU, or, for training on the CPU, that of the processor and the number of threads."""
    train: dict[InMode, float]
    evaluate: dict[InMode, float]
    """For the same networks and modes as `train`."""

    def seconds(self, config: RunConfig) -> float | str:
        """Predicted seconds for a run, or the reason why there is no estimate."""
        dataset = config.data.train.dataset
        if dataset.stays_in_files:
            return f"{dataset.name} stays in files, whose decoding speed is not measured"
        passes = count_passes(config)
        if passes is None:
            return f"the number of examples is unknown ({dataset.name} or another data set of the run)"
        mode = mode_of(config)
        work = [(self.train, mode, passes.trained), (self.evaluate, mode, passes.asked)]
        work.append((self.evaluate, Mode(), passes.evaluated))
        seconds = 0.0
        for speeds, in_mode, images in work:
            for name, count in images.items():
                if (name, in_mode) not in speeds:
                    return f"{self.path} has no speed for {show_network(name)} in {in_mode}"
                seconds += count * speeds[name, in_mode]
        return seconds


def read_speeds(path: Path) -> Speeds:
    """Read the output of `repro bench throughput --json`. Raises BadInput."""
    try:
        report = json.loads(path.read_text())["throughput"]
        seconds: dict[str, dict[InMode, float]] = {"train": {}, "evaluate": {}}
        for entry in report["networks"]:
            name = network(entry["model"], entry["input_shape"], entry["num_classes"])
            mode = Mode(entry.get("precision", "float32"), entry.get("compiled", False))  # older files lack both
            for what, of_network in seconds.items():
                speed = statistics.median(entry[what])
                if not 0 < speed < math.inf:
                    raise ValueError("no speed")
                of_network[name, mode] = 1.0 / speed
        processor = _processor(report["machine"])
    except OSError as error:
        raise BadInput(f"--speeds {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--speeds {path}: not what `repro bench throughput --json` writes") from error
    return Speeds(path, processor, **seconds)


def _processor(machine: Mapping[str, Any]) -> str:
    """The part of a machine's record that determines its speed."""
    one = f"{machine['processor']}, {machine['threads']} threads" if machine["device"] == "cpu" else machine["device"]
    processes = machine.get("process_count", 1)  # that train a run together
    return f"{processes} times {one}" if processes > 1 else one


def show_cost(wanted: Sequence[Request], store: Store, device: str, speeds: Speeds | None) -> str:
    """An estimate of the run-hours on `device` (cpu or cuda), from `speeds` if given, else from similar records.

    If several runs share a GPU, the GPU-hours are fewer.
    """
    unit = f"run-hours on {'a GPU' if device.startswith('cuda') else 'CPUs'}"
    if not wanted:
        return f"nothing to make: 0 {unit}"
    if speeds is not None:
        return _total(wanted, speeds.seconds, f"run-hours on {speeds.processor}", f"speeds in {speeds.path}")
    kind = "cuda" if device.startswith("cuda") else "cpu"
    seconds = _seconds_per_pass(store, kind, {_similarity(one.config.model_dump(mode="json")) for one in wanted})

    def by_records(config: RunConfig) -> float | str:
        passes, found = _passes(config), seconds.get(_similarity(config.model_dump(mode="json")))
        return passes * statistics.median(found) if passes is not None and found else "no similar record"

    return _total(wanted, by_records, unit, "similar record")


def cost_report(sweeps: Sequence[Path], preset: str, speeds: Speeds, store: Store) -> str:
    """Predicted hours of each sweep and in total, each run counted once, and the error on runs that are finished."""
    plans = [(path.stem, parents_first(read_sweep(path, {"preset": preset}))) for path in sweeps]
    everything = {request.run_id: request for _, plan in plans for request in plan}
    seconds = {run_id: speeds.seconds(request.config) for run_id, request in everything.items()}
    rows: list[list[Any]] = []
    for name, plan in [*plans, ("all, each run once", list(everything.values()))]:
        known = [found for request in plan if isinstance(found := seconds[request.run_id], float)]
        hours = sum(known) / 3600 if known else None
        rows.append([name, len(plan), len(plan) - len(known) or None, images_of(plan), hours])
    headers = ["sweep", "runs", "without estimate", f"{inputs_of(everything.values())} to train", "hours"]
    table = tabulate(rows, headers=headers, floatfmt=".3g")
    head = f"predicted for {speeds.processor} ({speeds.path}), preset {preset}\none run after another, without start-up"
    reasons = [f"{count} without estimate: {why}" for why, count in _reasons(seconds.values()).most_common()]
    return "\n\n".join([head, table, *(["\n".join(reasons)] if reasons else []), _error(speeds, store)])


def _reasons(estimates: Iterable[float | str]) -> Counter[str]:
    """The reasons for missing estimates, with the number of runs for each."""
    return Counter(found for found in estimates if isinstance(found, str))


def _error(speeds: Speeds, store: Store) -> str:
    """For finished runs made on the same kind of machine, the ratio of the actual to the predicted time, as text."""
    took, predicted = [], []
    for run in store.runs():
        if run.is_done() and {_processor(machine) for machine in _machines(run)} == {speeds.processor}:
            seconds = speeds.seconds(run.config())
            if isinstance(seconds, float):
                predicted.append(seconds)
                took.append(run.read_json("summary.json")["seconds"])
    if not took:
        return (
            f"no finished run in {store.root} was made on {speeds.processor}: the error of this prediction is not known"
        )
    ratios = [one / other for one, other in zip(took, predicted, strict=True)]
    return (
        f"{len(took)} finished runs in {store.root}, made on such a machine, perhaps several at a time, took "
        f"{sum(took) / 3600:.3g} hours in all, {sum(took) / sum(predicted):.2f} times what is predicted for them "
        f"(single runs {min(ratios):.2f} to {max(ratios):.2f} times, {statistics.median(ratios):.2f} in the median)"
    )


def _total(wanted: Sequence[Request], seconds_of: Callable[[RunConfig], float | str], unit: str, source: str) -> str:
    estimates = [(seconds_of(request.config), request.left) for request in wanted]
    known = [seconds * left for seconds, left in estimates if isinstance(seconds, float)]
    reasons = _reasons(seconds for seconds, _ in estimates)
    others = "; ".join(f"no estimate for {count}: {why}" for why, count in reasons.most_common())
    if not known:
        return f"no estimate of {unit}: {'; '.join(reasons)}"
    hours = f"about {sum(known) / 3600:.3g} {unit} for {len(known)} of the {len(wanted)} runs to make, by {source}"
    return "; ".join([hours, *([others] if others else [])])


def _seconds_per_pass(store: Store, kind: str, wanted: set[Similarity]) -> dict[Similarity, list[float]]:
    """Seconds per pass in finished runs that used this kind of device and are similar to the wanted ones."""
    found: dict[Similarity, list[float]] = defaultdict(list)
    for run in store.runs():
        if run.is_done() and {_kind(machine) for machine in _machines(run)} == {kind}:
            similarity = _similarity(run.read_json("config.json")["config"])
            passes = _passes(run.config()) if similarity in wanted else None
            if passes is not None:
                found[similarity].append(run.read_json("summary.json")["seconds"] / passes)
    return found


def _passes(config: RunConfig) -> int | None:
    """The work in a run, in forward passes of one image through any of its networks."""
    passes = count_passes(config)
    if passes is None:
        return None
    return TRAINED * passes.trained.total() + passes.asked.total() + passes.evaluated.total()


def _machines(run: RunDirectory) -> list[dict[str, Any]]:
    """The machines on which a run was made, one entry per attempt; none if its record has lost them."""
    try:
        return [attempt["machine"] for attempt in run.read_json("environment.json")["attempts"]]
    except FileNotFoundError:
        return []


def _kind(machine: Mapping[str, Any]) -> str:
    return "cpu" if machine["device"] == "cpu" else "cuda"


def _similarity(config: Mapping[str, Any]) -> Similarity:
    """Everything in a config that determines the cost of a pass."""
    teachers = [str(teacher["model"]) for teacher in config.get("teachers", ())]
    augmented = bool(config.get("augmentation"))
    dataset = config["data"]["train"]["dataset"]
    images = (dataset["name"], dataset.get("image_size"), [one["name"] for one in config["data"].get("streams", ())])
    objective = config["objective"]["name"] if "objective" in config else None
    own = (config["kind"], str(config["model"]), str(images), config["batch_size"], bool(config.get("frozen_trunk")))
    return (*own, objective, config["precision"], bool(config.get("compiled")), augmented, *sorted(teachers))
