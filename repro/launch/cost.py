"""How long runs will take: from records of similar runs, or from the speeds that `repro bench throughput` measured.

The second is a model: the images that pass through each network (`repro.launch.passes`), at that network's speed. It
knows nothing of start-up, data loading, and several runs sharing a device.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tabulate import tabulate

from repro.config import GeneratedStream, GeneratorConfig, RunConfig
from repro.errors import BadInput
from repro.launch.passes import Network, count_passes, network
from repro.launch.plan import images_of, images_to_train, parents_first
from repro.launch.request import Request
from repro.launch.sweep import read_sweep
from repro.store import RunDirectory, Store

TRAINED = 3
"""Passes forward that a training step costs: the usual estimate, a backward pass being worth two."""

Similarity: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Speeds:
    """Seconds an image on one machine, of training on labels and of evaluation, by network."""

    path: Path
    processor: str
    """The GPU's name, or the processor's, and the number of threads, where training is on the CPU."""
    train: dict[Network, float]
    evaluate: dict[Network, float]
    """Of the same networks."""

    def seconds(self, config: RunConfig) -> float | None:
        """What a run takes; None if the speed of one of its networks, or the size of its data, is not known.

        What is measured is float32 and not compiled, of images in memory, so other runs have none.
        """
        if isinstance(config, GeneratorConfig) or config.precision != "float32" or config.compiled:
            return None
        if any(isinstance(stream, GeneratedStream) for stream in config.data.streams):
            return None
        passes = None if config.data.train.dataset.stays_in_files else count_passes(config)
        if (
            passes is None
            or passes.trained.keys() - self.train.keys()
            or passes.evaluated.keys() - self.evaluate.keys()
        ):
            return None
        training = sum(images * self.train[name] for name, images in passes.trained.items())
        return training + sum(images * self.evaluate[name] for name, images in passes.evaluated.items())


def read_speeds(path: Path) -> Speeds:
    """What `repro bench throughput --json` wrote. Raises BadInput."""
    try:
        report = json.loads(path.read_text())["throughput"]
        seconds: dict[str, dict[Network, float]] = {"train": {}, "evaluate": {}}
        for entry in report["networks"]:
            name = network(entry["model"], entry["input_shape"], entry["num_classes"])
            for what, of_network in seconds.items():
                of_network[name] = 1.0 / statistics.median(entry[what])
        processor = _processor(report["machine"])
    except OSError as error:
        raise BadInput(f"--speeds {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--speeds {path}: not what `repro bench throughput --json` writes") from error
    return Speeds(path, processor, **seconds)


def _processor(machine: Mapping[str, Any]) -> str:
    """What decides how fast a machine is, as far as its record says so."""
    one = f"{machine['processor']}, {machine['threads']} threads" if machine["device"] == "cpu" else machine["device"]
    processes = machine.get("process_count", 1)  # that make a run together
    return f"{processes} times {one}" if processes > 1 else one


def show_cost(wanted: Sequence[Request], store: Store, device: str, speeds: Speeds | None = None) -> str:
    """An estimate of the runs' hours on `device` (cpu or cuda): by `speeds`, or else from records of similar runs.

    Where several runs share a GPU, its hours are fewer.
    """
    unit = f"run-hours on {'a GPU' if device.startswith('cuda') else 'CPUs'}"
    if not wanted:
        return f"nothing to make: 0 {unit}"
    if speeds is not None:
        return _total(wanted, speeds.seconds, f"run-hours on {speeds.processor}", f"speeds in {speeds.path}")
    kind = "cuda" if device.startswith("cuda") else "cpu"
    seconds = _seconds_per_pass(store, kind, {_similarity(one.config.model_dump(mode="json")) for one in wanted})

    def by_records(config: RunConfig) -> float | None:
        passes, found = _passes(config), seconds.get(_similarity(config.model_dump(mode="json")))
        return passes * statistics.median(found) if passes is not None and found else None

    return _total(wanted, by_records, unit, "similar record")


def cost_report(sweeps: Sequence[Path], preset: str, speeds: Speeds, store: Store) -> str:
    """Predicted hours of each sweep and of all, every run counted once, and the error on runs that were made."""
    rows: list[list[Any]] = []
    everything: dict[str, Request] = {}
    for path in sweeps:
        plan = parents_first(read_sweep(path, {"preset": preset}))
        rows.append(_cost_row(path.stem, plan, speeds))
        everything |= {request.run_id: request for request in plan}
    rows.append(_cost_row("all, each run once", list(everything.values()), speeds))
    headers = ["sweep", "runs", "without estimate", "images to train", "hours"]
    table = tabulate(rows, headers=headers, floatfmt=".3g")
    caveat = "one run after another; without start-up, texts, generators and what they make, and images in files"
    head = f"predicted for {speeds.processor} ({speeds.path}), preset {preset}\n{caveat}"
    return f"{head}\n\n{table}\n\n{_error(speeds, store)}"


def _cost_row(name: str, plan: Sequence[Request], speeds: Speeds) -> list[Any]:
    known = [seconds for request in plan if (seconds := speeds.seconds(request.config)) is not None]
    hours = sum(known) / 3600 if known else None
    return [name, len(plan), len(plan) - len(known) or None, images_of(plan), hours]


def _error(speeds: Speeds, store: Store) -> str:
    """How long finished runs took that were made on such a machine, over what is predicted for them."""
    took, predicted = [], []
    for run in store.runs():
        if run.is_done() and {_processor(machine) for machine in _machines(run)} == {speeds.processor}:
            seconds = speeds.seconds(run.config())
            if seconds is not None:
                predicted.append(seconds)
                took.append(run.read_json("summary.json")["seconds"])
    if not took:
        return (
            f"no finished run in {store.root} was made on {speeds.processor}: the error of this prediction is not known"
        )
    ratios = [one / other for one, other in zip(took, predicted, strict=True)]
    return (
        f"{len(took)} finished runs in {store.root}, made on such a machine and perhaps beside others, took "
        f"{sum(took) / 3600:.3g} hours in all, {sum(took) / sum(predicted):.2f} times what is predicted for them "
        f"(single runs {min(ratios):.2f} to {max(ratios):.2f} times, {statistics.median(ratios):.2f} in the median)"
    )


def _total(wanted: Sequence[Request], seconds_of: Callable[[RunConfig], float | None], unit: str, source: str) -> str:
    known = [seconds for request in wanted if (seconds := seconds_of(request.config)) is not None]
    if not known:
        return f"no {source} to estimate {unit} from"
    unknown = len(wanted) - len(known)
    rest = f"; no {source} for the other {unknown}" if unknown else ""
    return f"about {sum(known) / 3600:.3g} {unit} for {len(known)} of the {len(wanted)} runs to make, by {source}{rest}"


def _seconds_per_pass(store: Store, kind: str, wanted: set[Similarity]) -> dict[Similarity, list[float]]:
    """What a pass took in the finished records of this kind of device that are like the wanted ones."""
    found: dict[Similarity, list[float]] = defaultdict(list)
    for run in store.runs():
        if run.is_done() and {_kind(machine) for machine in _machines(run)} == {kind}:
            similarity = _similarity(run.read_json("config.json")["config"])
            passes = _passes(run.config()) if similarity in wanted else None
            if passes is not None:
                found[similarity].append(run.read_json("summary.json")["seconds"] / passes)
    return found


def _passes(config: RunConfig) -> int | None:
    """The work in a run, in images that pass forward through one of its networks."""
    if isinstance(config, GeneratorConfig):
        return images_to_train(config)
    passes = count_passes(config)
    return None if passes is None else TRAINED * passes.trained.total() + passes.evaluated.total()


def _machines(run: RunDirectory) -> list[dict[str, Any]]:
    """On which machines a run was made, an entry an attempt."""
    return [attempt["machine"] for attempt in run.read_json("environment.json")["attempts"]]


def _kind(machine: Mapping[str, Any]) -> str:
    return "cpu" if machine["device"] == "cpu" else "cuda"


def _similarity(config: Mapping[str, Any]) -> Similarity:
    """What decides the cost of a pass."""
    teachers = [str(teacher["model"]) for teacher in config.get("teachers", ())]
    augmented = bool(config.get("augmentation"))
    dataset = config["data"]["train"]["dataset"]
    images = (dataset["name"], dataset.get("image_size"), [one["name"] for one in config["data"].get("streams", ())])
    objective = config["objective"]["name"] if "objective" in config else None
    own = (config["kind"], str(config["model"]), str(images), config["batch_size"], bool(config.get("frozen_trunk")))
    return (*own, objective, config["precision"], bool(config.get("compiled")), augmented, *sorted(teachers))
