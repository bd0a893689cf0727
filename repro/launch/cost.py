"""How long runs will take: from records of similar runs, or from the speeds that `repro bench throughput` measured.

The second is a model: a training image costs one step of its network on labels and one evaluation by each teacher that
sees it, and a row of metrics an evaluation of up to 10,000 test and 10,000 train images. It knows nothing of start-up,
data loading, and several runs sharing a device.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tabulate import tabulate

from repro.config import GeneratorConfig, RunConfig, StudentConfig, TrainingConfig, parse_config
from repro.errors import BadInput
from repro.launch.plan import examples_of, images_of, images_to_train, parents_first
from repro.launch.request import Request
from repro.launch.sweep import read_sweep
from repro.store import RunDirectory, Store

EVALUATED = 10_000
"""Images of a row of metrics, of the test set and of the train sample each, at most."""

Similarity: TypeAlias = tuple[Any, ...]
Network: TypeAlias = tuple[str, tuple[int, ...], int]
"""What decides the speed of a network: its config as JSON, the shape of its images, the number of classes."""


@dataclass(frozen=True)
class Speeds:
    """Seconds an image on one machine, of training on labels and of evaluation, by network."""

    path: Path
    processor: str
    """The GPU's name, or the processor's where training is on the CPU."""
    train: dict[Network, float]
    evaluate: dict[Network, float]

    def seconds(self, config: RunConfig) -> float | None:
        """What a run takes; None if the speed of one of its networks, or its number of images, is not known.

        What is measured is float32 and not compiled, so a run in another mode has none.
        """
        if isinstance(config, GeneratorConfig) or config.precision != "float32" or config.compiled:
            return None
        images, examples, own = images_to_train(config), examples_of(config), _network(config)
        teachers = config.teachers if isinstance(config, StudentConfig) and config.objective.needs_teacher else ()
        theirs = [_network(teacher) for teacher in teachers]
        if images is None or examples is None or own not in self.train or not self.evaluate.keys() >= {own, *theirs}:
            return None
        taught = images if config.augmentation or config.data.streams else examples
        rows = -(-config.epochs // config.evaluate_every) + 1  # and once more for the predictions that are kept
        evaluated = rows * (EVALUATED + min(EVALUATED, examples))
        return (
            images * self.train[own]
            + taught * sum(self.evaluate[teacher] for teacher in theirs)
            + evaluated * self.evaluate[own]
        )


def _network(config: TrainingConfig) -> Network:
    dataset = config.data.train.dataset
    return _key(config.model.model_dump(mode="json"), dataset.input_shape, dataset.num_classes)


def _key(model: dict[str, Any], input_shape: Iterable[int], num_classes: int) -> Network:
    return json.dumps(model, sort_keys=True), tuple(input_shape), num_classes


def read_speeds(path: Path) -> Speeds:
    """What `repro bench throughput --json` wrote. Raises BadInput."""
    try:
        report = json.loads(path.read_text())["throughput"]
        seconds: dict[str, dict[Network, float]] = {"train": {}, "evaluate": {}}
        for entry in report["networks"]:
            network = _key(entry["model"], entry["input_shape"], entry["num_classes"])
            for what, of_network in seconds.items():
                of_network[network] = 1.0 / statistics.median(entry[what])
        machine = report["machine"]
    except OSError as error:
        raise BadInput(f"--speeds {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--speeds {path}: not what `repro bench throughput --json` writes") from error
    return Speeds(path, _processor(machine), **seconds)


def _processor(machine: dict[str, Any]) -> str:
    return str(machine["processor"] if machine["device"] == "cpu" else machine["device"])


def show_cost(wanted: Sequence[Request], store: Store, device: str, speeds: Speeds | None = None) -> str:
    """An estimate of the runs' hours on `device` (cpu or cuda): by `speeds`, or else from records of similar runs.

    Where several runs share a GPU, its hours are fewer.
    """
    unit = f"run-hours on {'a GPU' if device.startswith('cuda') else 'CPUs'}"
    if not wanted:
        return f"nothing to make: 0 {unit}"
    if speeds is not None:
        return _total(wanted, speeds.seconds, f"run-hours on {speeds.processor}", f"speeds in {speeds.path}")
    rates = _seconds_per_image(store, "cuda" if device.startswith("cuda") else "cpu")

    def by_records(config: RunConfig) -> float | None:
        images, rate = images_to_train(config), rates.get(_similarity(config.model_dump(mode="json")))
        return images * statistics.median(rate) if images is not None and rate else None

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
    caveat = "one run after another; without start-up, texts, generators and images in files"
    head = f"predicted for {speeds.processor} ({speeds.path}), preset {preset}\n{caveat}"
    return f"{head}\n\n{table}\n\n{_error(speeds, store)}"


def _cost_row(name: str, plan: Sequence[Request], speeds: Speeds) -> list[Any]:
    known = [seconds for request in plan if (seconds := speeds.seconds(request.config)) is not None]
    hours = sum(known) / 3600 if known else None
    return [name, len(plan), len(plan) - len(known) or None, images_of(plan), hours]


def _error(speeds: Speeds, store: Store) -> str:
    """How long finished runs took that were made on such a machine, over what is predicted for them."""
    ratios = []
    for run in store.runs():
        if run.is_done() and _processor(_machine(run)) == speeds.processor:
            predicted = speeds.seconds(parse_config(run.read_json("config.json")["config"]))
            if predicted:
                ratios.append(run.read_json("summary.json")["seconds"] / predicted)
    if not ratios:
        return (
            f"no finished run in {store.root} was made on {speeds.processor}: the error of this prediction is not known"
        )
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    return (
        f"{len(ratios)} finished runs in {store.root}, made on such a machine, took {median:.2f} times what is "
        f"predicted for them (median; {low:.2f} to {high:.2f})"
    )


def _total(wanted: Sequence[Request], seconds_of: Callable[[RunConfig], float | None], unit: str, source: str) -> str:
    known = [seconds for request in wanted if (seconds := seconds_of(request.config)) is not None]
    if not known:
        return f"no {source} to estimate {unit} from"
    unknown = len(wanted) - len(known)
    rest = f"; no {source} for the other {unknown}" if unknown else ""
    return f"about {sum(known) / 3600:.3g} {unit} for {len(known)} of the {len(wanted)} runs to make, by {source}{rest}"


def _seconds_per_image(store: Store, device: str) -> dict[Similarity, list[float]]:
    """What training took in the finished records of this kind of device, by what runs have in common."""
    rates: dict[Similarity, list[float]] = defaultdict(list)
    for run in store.runs():
        if run.is_done() and ("cpu" if _machine(run)["device"] == "cpu" else "cuda") == device:
            summary = run.read_json("summary.json")
            if summary.get("images_seen"):
                similarity = _similarity(run.read_json("config.json")["config"])
                rates[similarity].append(summary["seconds"] / summary["images_seen"])
    return rates


def _machine(run: RunDirectory) -> dict[str, Any]:
    machine: dict[str, Any] = run.read_json("environment.json")["attempts"][-1]["machine"]
    return machine


def _similarity(config: dict[str, Any]) -> Similarity:
    """What decides the cost of one training image."""
    teachers = [str(teacher["model"]) for teacher in config.get("teachers", ())]
    augmented = bool(config.get("augmentation"))
    dataset = config["data"]["train"]["dataset"]["name"]
    own = (config["kind"], str(config["model"]), dataset, config["batch_size"], bool(config.get("frozen_trunk")))
    return (*own, config["precision"], bool(config.get("compiled")), augmented, *sorted(teachers))
